/**
 * The 16550A serial port (National Semiconductor PC16550D data sheet), its line side joined to the machine's console.
 * What is written leaves at once: the transmitter is always empty, and only its interrupt behaves as if time had passed.
 */
import type { Alarm, Clock } from '../host/clock.ts';
import type { Console } from '../host/console.ts';
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

/** Output is handed on at a line's end, when this much has gathered, or when nothing has followed for the time below. */
const OUTPUT_SIZE = 1024;
const OUTPUT_DELAY = 5e6;
/**
 * A FIFO-full of input at most every this many nanoseconds, 80 kB/s: a pasted file must leave the guest time to read,
 * since nothing else holds the sender back, but need not crawl at the 9600 baud that Linux programs by default.
 */
const INPUT_PACE = 200_000;
/** Four characters' time at 115200 baud: how long a few bytes may lie below the trigger level. */
const TIMEOUT = 350_000;

export class Uart16550 implements Device, ByteRegisters {
  readonly name = 'uart-16550';
  readonly #clock: Clock;
  readonly #console: Console;
  readonly #line: InterruptLine;

  #ier = 0;
  #fifosOn = false;
  #trigger = 1;
  #lcr = 0;
  #mcr = 0;
  #lsrErrors = 0;
  #msrDeltas = 0;
  #scratch = 0;
  #divisor = 12;
  /** The transmitter-empty interrupt is waiting: raised by emptiness, cleared by reading IIR or writing THR. */
  #emptyPending = false;
  #timeoutPending = false;

  readonly #fifo = new Uint8Array(FIFO_SIZE);
  #fifoHead = 0;
  #fifoCount = 0;
  /** What was typed and does not fit yet: as it came, the first one read up to `#inputAt`. */
  readonly #input: Uint8Array[] = [];
  #inputAt = 0;
  /** The guest sets up FIFOs or modem lines, as drivers do; without, it may be one that just looks. */
  #hasDriver = false;
  #feedAt = 0;
  #feedAlarm: Alarm | undefined;
  #timeoutAlarm: Alarm | undefined;

  readonly #output = new Uint8Array(OUTPUT_SIZE);
  #outputCount = 0;
  #outputAlarm: Alarm | undefined;

  constructor(options: { clock: Clock; console: Console; line: InterruptLine }) {
    this.#clock = options.clock;
    this.#console = options.console;
    this.#line = options.line;
    this.#console.onInput(data => {
      if (data.length > 0) this.#input.push(data);
      this.#feed();
    });
  }

  reset(): void {
    this.flush();
    this.#ier = this.#lcr = this.#mcr = this.#lsrErrors = this.#msrDeltas = this.#scratch = 0;
    this.#fifosOn = this.#emptyPending = this.#hasDriver = false;
    this.#trigger = 1;
    this.#divisor = 12;
    this.#clearReceiver();
    this.#update();
  }

  /** Hands gathered output to the console now; to be called before the machine stops. */
  flush(): void {
    this.#outputAlarm?.cancel();
    this.#outputAlarm = undefined;
    if (this.#outputCount === 0) return;
    const data = this.#output.slice(0, this.#outputCount);
    this.#outputCount = 0;
    this.#console.write(data);
  }

  readByte(offset: number): number {
    switch (offset) {
      case LSR: {
        if (!this.#hasDriver) this.#feed(true);
        const status = LSR_TRANSMITTER | this.#lsrErrors | (this.#fifoCount > 0 ? LSR_DATA_READY : 0);
        if (this.#lsrErrors) {
          this.#lsrErrors = 0;
          this.#update();
        }
        return status;
      }
      case RBR_THR:
        return this.#lcr & LCR_DIVISOR_LATCH ? this.#divisor & 0xff : this.#receive();
      case IER:
        return this.#lcr & LCR_DIVISOR_LATCH ? this.#divisor >> 8 : this.#ier;
      case IIR_FCR: {
        const identification = this.#identify();
        if (identification === IIR_TRANSMITTER_EMPTY) {
          this.#emptyPending = false;
          this.#update();
        }
        return identification | (this.#fifosOn ? IIR_FIFOS : 0);
      }
      case LCR:
        return this.#lcr;
      case MCR:
        return this.#mcr;
      case MSR: {
        const status = this.#modemLines() | this.#msrDeltas;
        if (this.#msrDeltas) {
          this.#msrDeltas = 0;
          this.#update();
        }
        return status;
      }
      default:
        return this.#scratch;
    }
  }

  writeByte(offset: number, value: number): void {
    switch (offset) {
      case RBR_THR:
        if (this.#lcr & LCR_DIVISOR_LATCH) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#transmit(value);
        break;
      case IER:
        if (this.#lcr & LCR_DIVISOR_LATCH) this.#divisor = (this.#divisor & 0xff) | (value << 8);
        else this.#writeEnable(value & 0x0f);
        break;
      case IIR_FCR:
        this.#hasDriver = true;
        this.#writeFifoControl(value);
        break;
      case LCR:
        this.#lcr = value;
        break;
      case MCR:
        this.#hasDriver = true;
        this.#writeModemControl(value & 0x1f);
        break;
      case SCR:
        this.#scratch = value;
        break;
    }
  }

  #transmit(value: number): void {
    if (this.#mcr & MCR_LOOPBACK) {
      this.#arrive(value);
    } else {
      this.#output[this.#outputCount++] = value;
      if (value === 0x0a || this.#outputCount === OUTPUT_SIZE) this.flush();
      else this.#outputAlarm ??= this.#clock.alarm(this.#clock.now() + OUTPUT_DELAY, () => this.flush());
    }
    if (!(this.#ier & IER_TRANSMITTER_EMPTY)) {
      this.#emptyPending = true;
      return;
    }
    // The register was full for a moment: the interrupt goes away and comes back, which an edge-triggered input must see.
    this.#emptyPending = false;
    this.#update();
    this.#emptyPending = true;
    this.#update();
  }

  #writeEnable(value: number): void {
    const enabled = value & ~this.#ier;
    this.#ier = value;
    // Enabling the interrupt while the transmitter is empty raises it, again and again: drivers rely on it.
    if (enabled & IER_TRANSMITTER_EMPTY) this.#emptyPending = true;
    this.#update();
    if (enabled & IER_RECEIVED) this.#feed();
  }

  #writeFifoControl(value: number): void {
    const on = (value & 1) !== 0;
    if (on !== this.#fifosOn || value & 2) this.#clearReceiver();
    this.#fifosOn = on;
    this.#trigger = on ? TRIGGER_LEVELS[value >> 6] : 1;
    this.#update();
  }

  #writeModemControl(value: number): void {
    const before = this.#modemLines();
    this.#mcr = value;
    const after = this.#modemLines();
    const changed = before ^ after;
    if (changed & MSR_CTS) this.#msrDeltas |= 1;
    if (changed & MSR_DSR) this.#msrDeltas |= 2;
    if (before & ~after & MSR_RI) this.#msrDeltas |= 4;
    if (changed & MSR_DCD) this.#msrDeltas |= 8;
    this.#update();
    this.#feed();
  }

  /** In loopback the chip's outputs come back as its inputs; otherwise the other end is there and ready. */
  #modemLines(): number {
    if (!(this.#mcr & MCR_LOOPBACK)) return MSR_CTS | MSR_DSR | MSR_DCD;
    return (
      (this.#mcr & MCR_RTS ? MSR_CTS : 0) |
      (this.#mcr & MCR_DTR ? MSR_DSR : 0) |
      (this.#mcr & MCR_OUT1 ? MSR_RI : 0) |
      (this.#mcr & MCR_OUT2 ? MSR_DCD : 0)
    );
  }

  // ---- The receiver ---------------------------------------------------------------------------------------------------

  /** A byte reaches the receiver. */
  #arrive(value: number): void {
    const room = this.#fifosOn ? FIFO_SIZE : 1;
    if (this.#fifoCount === room) {
      this.#lsrErrors |= LSR_OVERRUN;
      // Without FIFOs the new byte destroys the old one; with them it is the new one that is lost.
      if (!this.#fifosOn) this.#fifo[this.#fifoHead] = value;
    } else {
      this.#fifo[(this.#fifoHead + this.#fifoCount++) % FIFO_SIZE] = value;
    }
    this.#restartTimeout();
    this.#update();
  }

  #receive(): number {
    if (this.#fifoCount === 0) return 0;
    const value = this.#fifo[this.#fifoHead];
    this.#fifoHead = (this.#fifoHead + 1) % FIFO_SIZE;
    this.#fifoCount--;
    this.#restartTimeout();
    this.#update();
    if (this.#fifoCount === 0) this.#feed();
    return value;
  }

  /**
   * Moves typed bytes into the receiver. The sender honours RTS, so that what was typed before the guest had set up its
   * driver, which empties the FIFO, is not lost; a guest that never heard of RTS can enable the interrupt instead, or look.
   */
  #feed(polled = false): void {
    if (this.#input.length === 0 || this.#fifoCount > 0 || this.#mcr & MCR_LOOPBACK) return;
    if (!polled && !(this.#mcr & MCR_RTS) && !(this.#ier & IER_RECEIVED)) return;
    const now = this.#clock.now();
    if (now < this.#feedAt) {
      this.#feedAlarm ??= this.#clock.alarm(this.#feedAt, () => {
        this.#feedAlarm = undefined;
        this.#feed();
      });
      return;
    }
    const room = this.#fifosOn ? FIFO_SIZE : 1;
    this.#feedAt = now + (INPUT_PACE / FIFO_SIZE) * room;
    while (this.#fifoCount < room && this.#input.length > 0) {
      const chunk = this.#input[0];
      this.#fifo[(this.#fifoHead + this.#fifoCount++) % FIFO_SIZE] = chunk[this.#inputAt++];
      if (this.#inputAt < chunk.length) continue;
      this.#input.shift();
      this.#inputAt = 0;
    }
    this.#restartTimeout();
    this.#update();
  }

  #clearReceiver(): void {
    this.#fifoCount = 0;
    this.#restartTimeout();
  }

  /** The character time-out: bytes below the trigger level are announced when the line has been quiet for a while. */
  #restartTimeout(): void {
    this.#timeoutPending = false;
    this.#timeoutAlarm?.cancel();
    this.#timeoutAlarm = undefined;
    if (!this.#fifosOn || this.#fifoCount === 0 || this.#fifoCount >= this.#trigger) return;
    this.#timeoutAlarm = this.#clock.alarm(this.#clock.now() + TIMEOUT, () => {
      this.#timeoutAlarm = undefined;
      this.#timeoutPending = this.#fifoCount > 0;
      this.#update();
    });
  }

  // ---- Interrupts -----------------------------------------------------------------------------------------------------

  #identify(): number {
    const enabled = this.#ier;
    if (enabled & IER_LINE_STATUS && this.#lsrErrors & LSR_ERRORS) return IIR_LINE_STATUS;
    if (enabled & IER_RECEIVED) {
      if (this.#fifoCount >= this.#trigger) return IIR_RECEIVED;
      if (this.#timeoutPending) return IIR_TIMEOUT;
    }
    if (enabled & IER_TRANSMITTER_EMPTY && this.#emptyPending) return IIR_TRANSMITTER_EMPTY;
    if (enabled & IER_MODEM_STATUS && this.#msrDeltas) return IIR_MODEM_STATUS;
    return IIR_NONE;
  }

  #update(): void {
    // In loopback OUT2 does not leave the chip, and with it the interrupt line.
    const connected = (this.#mcr & (MCR_OUT2 | MCR_LOOPBACK)) === MCR_OUT2;
    this.#line.set(connected && this.#identify() !== IIR_NONE);
  }
}
