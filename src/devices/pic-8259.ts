/**
 * The PC's pair of 8259A interrupt controllers (Intel 8259A data sheet; the edge/level registers are the 82371SB's).
 * The second hangs on input 2 of the first. Both start with everything masked, as firmware leaves them.
 */
import type { State, States } from '../state/state.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device } from './device.ts';

const initial = () => ({
  irr: 0,
  isr: 0,
  imr: 0xff,
  /** Edge/level control: a set bit is a level-triggered input. */
  elcr: 0,
  /** The levels of the inputs, to see edges. */
  inputs: 0,
  base: 0,
  /** The next initialisation word that port 1 expects: 0 (none), 2, 3 or 4. */
  expect: 0,
  wantsWord4: false,
  single: false,
  autoEnd: false,
  rotateOnAutoEnd: false,
  specialMask: false,
  fullyNested: false,
  readInService: false,
  poll: false,
  /** The input with the lowest priority; the one after it has the highest. */
  lowest: 7,
});

/** One 8259A. */
class Chip implements ByteRegisters {
  readonly #state: State<ReturnType<typeof initial>>;
  readonly #cascade: number;
  readonly #changed: () => void;
  /** Takes a polled interrupt of the pair's other chip along; see `Pic8259`. */
  readonly #take: () => number;

  /**
   * @param cascade a mask of the input that another 8259 hangs on, 0 for none
   * @param take acknowledges as INTA would and returns the input, or -1
   */
  constructor(states: States, name: string, cascade: number, changed: () => void, take: (chip: Chip) => number) {
    this.#state = states.state(name, 1, initial);
    this.#cascade = cascade;
    this.#changed = changed;
    this.#take = () => take(this);
  }

  reset(): void {
    this.#state.initialise();
  }

  get edgeLevel(): number {
    return this.#state.elcr;
  }

  set edgeLevel(value: number) {
    this.#state.elcr = value;
  }

  setInput(input: number, high: boolean): void {
    const bit = 1 << input;
    // The other 8259's output is followed as a level: it drops and rises again between two of its interrupts.
    if ((this.#state.elcr | this.#cascade) & bit) {
      this.#state.irr = high ? this.#state.irr | bit : this.#state.irr & ~bit;
    } else if (high && !(this.#state.inputs & bit)) {
      // A real 8259 forgets an edge whose line falls before INTA and answers with a spurious IR7. No guest wants that.
      this.#state.irr |= bit;
    }
    this.#state.inputs = high ? this.#state.inputs | bit : this.#state.inputs & ~bit;
  }

  /** Position of the most urgent bit in `mask`: 0 is the highest priority, 8 means none. */
  #rank(mask: number): number {
    if (mask === 0) return 8;
    let rank = 0;
    while (!(mask & (1 << ((this.#state.lowest + 1 + rank) & 7)))) rank++;
    return rank;
  }

  /** The input to be served next, or -1. */
  next(): number {
    const rank = this.#rank(this.#state.irr & ~this.#state.imr);
    if (rank === 8) return -1;
    let serving = this.#state.isr;
    if (this.#state.specialMask) serving &= ~this.#state.imr;
    if (this.#state.fullyNested) serving &= ~this.#cascade;
    if (rank >= this.#rank(serving)) return -1;
    return (this.#state.lowest + 1 + rank) & 7;
  }

  /** INTA: moves `input` into service. */
  serve(input: number): void {
    const bit = 1 << input;
    if (!((this.#state.elcr | this.#cascade) & bit)) this.#state.irr &= ~bit;
    if (!this.#state.autoEnd) this.#state.isr |= bit;
    else if (this.#state.rotateOnAutoEnd) this.#state.lowest = input;
  }

  vector(input: number): number {
    return this.#state.base | input;
  }

  readByte(offset: number): number {
    if (this.#state.poll) {
      this.#state.poll = false;
      const input = this.#take();
      return input < 0 ? 0 : 0x80 | input;
    }
    if (offset === 1) return this.#state.imr;
    return this.#state.readInService ? this.#state.isr : this.#state.irr;
  }

  writeByte(offset: number, value: number): void {
    if (offset === 1) this.#writeData(value);
    else if (value & 0x10) this.#initialise(value);
    else if (value & 0x08) this.#writeOcw3(value);
    else this.#writeOcw2(value);
    this.#changed();
  }

  /** ICW1. Clears the edge sense, so that an input must fall and rise to be seen again. */
  #initialise(value: number): void {
    this.#state.expect = 2;
    this.#state.wantsWord4 = (value & 1) !== 0;
    this.#state.single = (value & 2) !== 0;
    this.#state.irr &= this.#state.elcr | this.#cascade;
    this.#state.isr = this.#state.imr = 0;
    this.#state.lowest = 7;
    this.#state.specialMask = this.#state.readInService = this.#state.poll = false;
    this.#state.autoEnd = this.#state.rotateOnAutoEnd = this.#state.fullyNested = false;
  }

  /** Port 1: ICW2-4 during initialisation, OCW1 (the mask) otherwise. */
  #writeData(value: number): void {
    switch (this.#state.expect) {
      case 2:
        this.#state.base = value & 0xf8;
        this.#state.expect = this.#state.single ? (this.#state.wantsWord4 ? 4 : 0) : 3;
        break;
      case 3: // which input carries the other chip: soldered on this board
        this.#state.expect = this.#state.wantsWord4 ? 4 : 0;
        break;
      case 4:
        this.#state.autoEnd = (value & 2) !== 0;
        this.#state.fullyNested = (value & 0x10) !== 0;
        this.#state.expect = 0;
        break;
      default:
        this.#state.imr = value;
    }
  }

  /** End of interrupt and rotation. Bits 7-5 choose, bits 2-0 name the input for the specific ones. */
  #writeOcw2(value: number): void {
    const input = value & 7;
    switch (value >> 5) {
      case 0b000:
        this.#state.rotateOnAutoEnd = false;
        break;
      case 0b100:
        this.#state.rotateOnAutoEnd = true;
        break;
      case 0b001:
      case 0b101: {
        const rank = this.#rank(this.#state.specialMask ? this.#state.isr & ~this.#state.imr : this.#state.isr);
        if (rank === 8) break;
        const ended = (this.#state.lowest + 1 + rank) & 7;
        this.#state.isr &= ~(1 << ended);
        if (value >> 5 === 0b101) this.#state.lowest = ended;
        break;
      }
      case 0b011:
        this.#state.isr &= ~(1 << input);
        break;
      case 0b111:
        this.#state.isr &= ~(1 << input);
        this.#state.lowest = input;
        break;
      case 0b110:
        this.#state.lowest = input;
        break;
    }
  }

  #writeOcw3(value: number): void {
    if (value & 0x40) this.#state.specialMask = (value & 0x20) !== 0;
    if (value & 0x04) this.#state.poll = true;
    else if (value & 0x02) this.#state.readInService = (value & 1) !== 0;
  }
}

/** The 8259s, as far as the processor sees them. */
export interface ExternalInterrupts {
  /** The INTR line. */
  readonly output: boolean;
  /** INTA. @returns the vector */
  acknowledge(): number;
}

export class Pic8259 implements Device {
  readonly name = 'pic-8259';
  /** Ports 0x20 and 0x21 of a PC: inputs IRQ0-7. */
  readonly first: ByteRegisters;
  /** Ports 0xa0 and 0xa1: inputs IRQ8-15. */
  readonly second: ByteRegisters;
  /** Ports 0x4d0 and 0x4d1: which inputs are level-triggered. */
  readonly edgeLevel: ByteRegisters;
  /** Called when `output` changes. */
  onOutput: (high: boolean) => void = () => {};

  readonly #first: Chip;
  readonly #second: Chip;
  readonly #pair: State<{ output: boolean }>;

  constructor(states: States) {
    this.#pair = states.state(this.name, 1, () => ({ output: false }));
    const changed = () => this.#update();
    const take = (chip: Chip) => this.#take(chip);
    this.first = this.#first = new Chip(states, `${this.name}/first`, 1 << 2, changed, take);
    this.second = this.#second = new Chip(states, `${this.name}/second`, 0, changed, take);
    this.edgeLevel = {
      readByte: offset => (offset === 0 ? this.#first.edgeLevel : this.#second.edgeLevel),
      writeByte: (offset, value) => {
        // IRQ 0, 1, 2, 8 and 13 are edge-triggered for good.
        if (offset === 0) this.#first.edgeLevel = value & 0xf8;
        else this.#second.edgeLevel = value & 0xde;
      },
    };
  }

  /** The INTR pin of the first chip; see `onOutput`. */
  get output(): boolean {
    return this.#pair.output;
  }

  reset(): void {
    this.#first.reset();
    this.#second.reset();
    this.#update();
  }

  /** @param irq 0-15; 2 is where the second chip hangs and cannot be used */
  setLine(irq: number, high: boolean): void {
    if (irq === 2) return;
    if (irq < 8) this.#first.setInput(irq, high);
    else this.#second.setInput(irq - 8, high);
    this.#update();
  }

  /** INTA. @returns the vector: that of IR7 if the request is gone (a spurious interrupt). */
  acknowledge(): number {
    const input = this.#first.next();
    let vector: number;
    if (input === 2) {
      const behind = this.#second.next();
      if (behind >= 0) this.#second.serve(behind);
      this.#first.serve(2);
      vector = this.#second.vector(behind < 0 ? 7 : behind);
    } else {
      if (input >= 0) this.#first.serve(input);
      vector = this.#first.vector(input < 0 ? 7 : input);
    }
    this.#update();
    return vector;
  }

  #take(chip: Chip): number {
    const input = chip.next();
    if (input >= 0) chip.serve(input);
    this.#update();
    return input;
  }

  #update(): void {
    this.#first.setInput(2, this.#second.next() >= 0);
    const output = this.#first.next() >= 0;
    if (output === this.#pair.output) return;
    this.#pair.output = output;
    this.onOutput(output);
  }
}
