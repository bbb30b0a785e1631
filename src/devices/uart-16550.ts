/**
 * The 16550A serial port (National Semiconductor PC16550D data sheet), its line side joined to a console of the machine's.
 * What is written leaves at once: the transmitter is always empty, and only its interrupt behaves as if time had
 * passed.
 */
import type { Clock, Timer } from '../host/clock.ts';
import type { Console } from '../host/console.ts';
import type { State, States } from '../state/state.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device, InterruptLine } from './device.ts';

/** Register offsets. RBR/THR and IER share theirs with the divisor latch (LCR bit 7). */
const RBR_THR = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;

const IER_RECEIVED = 1;
const IER_TRANSMITTER_EMPTY = 2;
const IER_LINE_STATUS = 4;
const IER_MODEM_STATUS = 8;

/** Interrupt identification, most urgent first. */
const IIR_LINE_STATUS = 0x06;
const IIR_RECEIVED = 0x04;
const IIR_TIMEOUT = 0x0c;
const IIR_TRANSMITTER_EMPTY = 0x02;
const IIR_MODEM_STATUS = 0x00;
const IIR_NONE = 0x01;
const IIR_FIFOS = 0xc0;

const LCR_DIVISOR_LATCH = 0x80;

const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
/** On a PC, OUT2 connects the chip to its interrupt line. */
const MCR_OUT2 = 0x08;
const MCR_LOOPBACK = 0x10;

const LSR_DATA_READY = 0x01;
const LSR_OVERRUN = 0x02;
const LSR_TRANSMITTER = 0x60;
const LSR_ERRORS = 0x1e;

const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;

const FIFO_SIZE = 16;
const TRIGGER_LEVELS = [1, 4, 8, 14];

/**
 * Output is handed on at a line's end, when this much has gathered, or when nothing has followed for the time below.
 */
const OUTPUT_SIZE = 1024;
const OUTPUT_DELAY = 5e6;
/**
 * A FIFO-full of input at most every this many nanoseconds, 80 kB/s: a pasted file must leave the guest time to read,
 * since nothing else holds the sender back, but need not crawl at the 9600 baud that Linux programs by default.
 */
const INPUT_PACE = 200_000;
/** Four characters' time at 115200 baud: how long a few bytes may lie below the trigger level. */
const TIMEOUT = 350_000;

/** The chip's registers. */
const initial = () => ({
  ier: 0,
  fifosOn: false,
  trigger: 1,
  lcr: 0,
  mcr: 0,
  lsrErrors: 0,
  msrDeltas: 0,
  scratch: 0,
  divisor: 12,
  /** The transmitter-empty interrupt is waiting: raised by emptiness, cleared by reading IIR or writing THR. */
  emptyPending: false,
  timeoutPending: false,
  /** The receiver's FIFO, a ring. */
  fifo: new Uint8Array(FIFO_SIZE),
  fifoHead: 0,
  fifoCount: 0,
  /** The guest has set up FIFOs or modem lines, as drivers do. Without, it may be one that just polls. */
  hasDriver: false,
});

/** What lies between the chip and the console; a reset does not touch it. */
const initialOutside = () => ({
  /** What was typed and does not fit into the receiver yet: as it came, the first one read up to `inputAt`. */
  input: [] as Uint8Array[],
  inputAt: 0,
  /** When the receiver may be filled again. */
  feedAt: 0,
  /** What the guest has written, to be handed on together, and how much of it the console has already. */
  output: new Uint8Array(OUTPUT_SIZE),
  outputCount: 0,
  outputHanded: 0,
});

export class Uart16550 implements Device, ByteRegisters {
  readonly name: string;
  readonly #clock: Clock;
  readonly #console: Console;
  readonly #line: InterruptLine;

  readonly #state: State<ReturnType<typeof initial>>;
  readonly #outside: State<ReturnType<typeof initialOutside>>;
  /** Set for when the next input may be moved into the receiver. */
  readonly #feedTimer: Timer;
  /** Set for the character time-out. */
  readonly #timeoutTimer: Timer;
  /** Set for when gathered output is handed on. */
  readonly #outputTimer: Timer;

  /** @param options.name of its states and timers: unique in the machine */
  constructor(options: { name?: string; states: States; clock: Clock; console: Console; line: InterruptLine }) {
    const { name = 'uart-16550', states, clock } = options;
    this.name = name;
    this.#state = states.state(this.name, 1, initial);
    this.#outside = states.state(`${this.name}/outside`, 2, initialOutside);
    this.#feedTimer = clock.timer(`${this.name}/feed`, () => this.#feed());
    this.#timeoutTimer = clock.timer(`${this.name}/timeout`, () => this.#onTimeout());
    this.#outputTimer = clock.timer(`${this.name}/output`, () => this.#handOn());
    this.#clock = clock;
    this.#console = options.console;
    this.#line = options.line;
    this.#console.onInput(data => {
      if (data.length > 0) this.#outside.input.push(data);
      this.#feed();
    });
  }

  reset(): void {
    this.#handOn();
    this.#state.initialise();
    this.#timeoutTimer.off();
    this.#update();
  }

  /**
   * Hands gathered output to the console now; to be called before the machine stops. What the guest and its timers do afterwards does
   * not depend on it: a run that is stopped now and then is the same run.
   */
  flush(): void {
    const outside = this.#outside;
    if (outside.outputHanded === outside.outputCount) return;
    const data = outside.output.slice(outside.outputHanded, outside.outputCount);
    outside.outputHanded = outside.outputCount;
    this.#console.write(data);
  }
  /** Its time has come, or there is enough of it. */
  #handOn(): void {
    this.#outputTimer.off();
    this.flush();
    this.#outside.outputCount = this.#outside.outputHanded = 0;
  }

  readByte(offset: number): number {
    switch (offset) {
      case LSR: {
        if (!this.#state.hasDriver) this.#feed(true);
        const status = LSR_TRANSMITTER | this.#state.lsrErrors | (this.#state.fifoCount > 0 ? LSR_DATA_READY : 0);
        if (this.#state.lsrErrors) {
          this.#state.lsrErrors = 0;
          this.#update();
        }
        return status;
      }
      case RBR_THR:
        return this.#state.lcr & LCR_DIVISOR_LATCH ? this.#state.divisor & 0xff : this.#receive();
      case IER:
        return this.#state.lcr & LCR_DIVISOR_LATCH ? this.#state.divisor >> 8 : this.#state.ier;
      case IIR_FCR: {
        const identification = this.#identify();
        if (identification === IIR_TRANSMITTER_EMPTY) {
          this.#state.emptyPending = false;
          this.#update();
        }
        return identification | (this.#state.fifosOn ? IIR_FIFOS : 0);
      }
      case LCR:
        return this.#state.lcr;
      case MCR:
        return this.#state.mcr;
      case MSR: {
        const status = this.#modemLines() | this.#state.msrDeltas;
        if (this.#state.msrDeltas) {
          this.#state.msrDeltas = 0;
          this.#update();
        }
        return status;
      }
      default:
        return this.#state.scratch;
    }
  }

  writeByte(offset: number, value: number): void {
    switch (offset) {
      case RBR_THR:
        if (this.#state.lcr & LCR_DIVISOR_LATCH) this.#state.divisor = (this.#state.divisor & 0xff00) | value;
        else this.#transmit(value);
        break;
      case IER:
        if (this.#state.lcr & LCR_DIVISOR_LATCH) this.#state.divisor = (this.#state.divisor & 0xff) | (value << 8);
        else this.#writeEnable(value & 0x0f);
        break;
      case IIR_FCR:
        this.#state.hasDriver = true;
        this.#writeFifoControl(value);
        break;
      case LCR:
        this.#state.lcr = value;
        break;
      case MCR:
        this.#state.hasDriver = true;
        this.#writeModemControl(value & 0x1f);
        break;
      case SCR:
        this.#state.scratch = value;
        break;
    }
  }

  #transmit(value: number): void {
    if (this.#state.mcr & MCR_LOOPBACK) {
      this.#arrive(value);
    } else {
      const outside = this.#outside;
      outside.output[outside.outputCount++] = value;
      if (value === 0x0a || outside.outputCount === OUTPUT_SIZE) this.#handOn();
      else if (this.#outputTimer.due === undefined) this.#outputTimer.at(this.#clock.now() + OUTPUT_DELAY);
    }
    if (!(this.#state.ier & IER_TRANSMITTER_EMPTY)) {
      this.#state.emptyPending = true;
      return;
    }
    // The register was full for a moment. The interrupt goes away and comes back: an edge-triggered input must see it.
    this.#state.emptyPending = false;
    this.#update();
    this.#state.emptyPending = true;
    this.#update();
  }

  #writeEnable(value: number): void {
    const enabled = value & ~this.#state.ier;
    this.#state.ier = value;
    // Enabling the interrupt while the transmitter is empty raises it, again and again: drivers rely on it.
    if (enabled & IER_TRANSMITTER_EMPTY) this.#state.emptyPending = true;
    this.#update();
    if (enabled & IER_RECEIVED) this.#feed();
  }

  #writeFifoControl(value: number): void {
    const on = (value & 1) !== 0;
    if (on !== this.#state.fifosOn || value & 2) this.#clearReceiver();
    this.#state.fifosOn = on;
    this.#state.trigger = on ? TRIGGER_LEVELS[value >> 6] : 1;
    this.#update();
  }

  #writeModemControl(value: number): void {
    const before = this.#modemLines();
    this.#state.mcr = value;
    const after = this.#modemLines();
    const changed = before ^ after;
    if (changed & MSR_CTS) this.#state.msrDeltas |= 1;
    if (changed & MSR_DSR) this.#state.msrDeltas |= 2;
    if (before & ~after & MSR_RI) this.#state.msrDeltas |= 4;
    if (changed & MSR_DCD) this.#state.msrDeltas |= 8;
    this.#update();
    this.#feed();
  }

  /** In loopback the chip's outputs come back as its inputs; otherwise the other end is there and ready. */
  #modemLines(): number {
    if (!(this.#state.mcr & MCR_LOOPBACK)) return MSR_CTS | MSR_DSR | MSR_DCD;
    return (
      (this.#state.mcr & MCR_RTS ? MSR_CTS : 0) |
      (this.#state.mcr & MCR_DTR ? MSR_DSR : 0) |
      (this.#state.mcr & MCR_OUT1 ? MSR_RI : 0) |
      (this.#state.mcr & MCR_OUT2 ? MSR_DCD : 0)
    );
  }

  // ---- The receiver ----------------------------------------------------------------------------

  /** A byte reaches the receiver. */
  #arrive(value: number): void {
    const room = this.#state.fifosOn ? FIFO_SIZE : 1;
    if (this.#state.fifoCount === room) {
      this.#state.lsrErrors |= LSR_OVERRUN;
      // Without FIFOs the new byte destroys the old one; with them it is the new one that is lost.
      if (!this.#state.fifosOn) this.#state.fifo[this.#state.fifoHead] = value;
    } else {
      this.#state.fifo[(this.#state.fifoHead + this.#state.fifoCount++) % FIFO_SIZE] = value;
    }
    this.#restartTimeout();
    this.#update();
  }

  #receive(): number {
    if (this.#state.fifoCount === 0) return 0;
    const value = this.#state.fifo[this.#state.fifoHead];
    this.#state.fifoHead = (this.#state.fifoHead + 1) % FIFO_SIZE;
    this.#state.fifoCount--;
    this.#restartTimeout();
    this.#update();
    if (this.#state.fifoCount === 0) this.#feed();
    return value;
  }

  /**
   * Moves typed bytes into the receiver. The sender honours RTS, so that what was typed before the guest had set up
   * its driver, which empties the FIFO, is not lost; a guest that never heard of RTS can enable the interrupt instead,
   * or look.
   */
  #feed(polled = false): void {
    const outside = this.#outside;
    if (outside.input.length === 0 || this.#state.fifoCount > 0 || this.#state.mcr & MCR_LOOPBACK) return;
    if (!polled && !(this.#state.mcr & MCR_RTS) && !(this.#state.ier & IER_RECEIVED)) return;
    const now = this.#clock.now();
    if (now < outside.feedAt) {
      if (this.#feedTimer.due === undefined) this.#feedTimer.at(outside.feedAt);
      return;
    }
    const room = this.#state.fifosOn ? FIFO_SIZE : 1;
    outside.feedAt = now + (INPUT_PACE / FIFO_SIZE) * room;
    while (this.#state.fifoCount < room && outside.input.length > 0) {
      const chunk = outside.input[0];
      this.#state.fifo[(this.#state.fifoHead + this.#state.fifoCount++) % FIFO_SIZE] = chunk[outside.inputAt++];
      if (outside.inputAt < chunk.length) continue;
      outside.input.shift();
      outside.inputAt = 0;
    }
    this.#restartTimeout();
    this.#update();
  }

  #clearReceiver(): void {
    this.#state.fifoCount = 0;
    this.#restartTimeout();
  }

  /** The character time-out: bytes below the trigger level are announced when the line has been quiet for a while. */
  #restartTimeout(): void {
    this.#state.timeoutPending = false;
    this.#timeoutTimer.off();
    if (!this.#state.fifosOn || this.#state.fifoCount === 0 || this.#state.fifoCount >= this.#state.trigger) return;
    this.#timeoutTimer.at(this.#clock.now() + TIMEOUT);
  }

  #onTimeout(): void {
    this.#state.timeoutPending = this.#state.fifoCount > 0;
    this.#update();
  }

  // ---- Interrupts ------------------------------------------------------------------------------

  #identify(): number {
    const enabled = this.#state.ier;
    if (enabled & IER_LINE_STATUS && this.#state.lsrErrors & LSR_ERRORS) return IIR_LINE_STATUS;
    if (enabled & IER_RECEIVED) {
      if (this.#state.fifoCount >= this.#state.trigger) return IIR_RECEIVED;
      if (this.#state.timeoutPending) return IIR_TIMEOUT;
    }
    if (enabled & IER_TRANSMITTER_EMPTY && this.#state.emptyPending) return IIR_TRANSMITTER_EMPTY;
    if (enabled & IER_MODEM_STATUS && this.#state.msrDeltas) return IIR_MODEM_STATUS;
    return IIR_NONE;
  }

  #update(): void {
    // In loopback OUT2 does not leave the chip, and with it the interrupt line.
    const connected = (this.#state.mcr & (MCR_OUT2 | MCR_LOOPBACK)) === MCR_OUT2;
    this.#line.set(connected && this.#identify() !== IIR_NONE);
  }
}
