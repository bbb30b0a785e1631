/**
 * The two address spaces in which a guest finds devices: I/O ports and memory-mapped registers. A device registers a
 * range once and from then on sees only offsets into it. An address that no device claims answers as on real hardware:
 * reads give all ones, writes vanish, and the first access is logged.
 */
import type { Log } from '../host/log.ts';
import type { Processor } from '../paravirt/processor.ts';

/** Access width in bytes. */
export type Width = 1 | 2 | 4 | 8;

export interface BusHandler {
  /**
   * @param from the processor that asks
   * @returns the register at `offset`, an unsigned number of `width` bytes
   */
  read(offset: number, width: Width, from: Processor): number;
  write(offset: number, width: Width, value: number, from: Processor): void;
}

/** A handler that answers every processor alike, as nearly all devices do. */
export interface UniformHandler {
  read(offset: number, width: Width): number;
  write(offset: number, width: Width, value: number): void;
}

interface Range {
  name: string;
  start: number;
  end: number;
  handler: BusHandler;
}

const ALL_ONES: Record<Width, number> = { 1: 0xff, 2: 0xffff, 4: 0xffffffff, 8: 0xffffffff };

export class Bus {
  readonly kind: 'port' | 'mmio';
  readonly #log: Log;
  #ranges: Range[] = [];
  #last: Range | undefined;

  constructor(kind: 'port' | 'mmio', log: Log) {
    this.kind = kind;
    this.#log = log;
  }

  /**
   * Claims `[start, start + size)`. Returns a function that gives the range back (PCI BARs move).
   * @throws Error if the range overlaps one that is taken: two devices at one address are a mistake of the board's.
   */
  map(name: string, start: number, size: number, handler: BusHandler): () => void {
    const range: Range = { name, start, end: start + size, handler };
    const other = this.#ranges.find(r => r.start < range.end && start < r.end);
    if (other) throw new Error(`${this.kind} range 0x${start.toString(16)}+${size} of ${name} overlaps ${other.name}`);
    this.#ranges.push(range);
    return () => {
      this.#ranges = this.#ranges.filter(r => r !== range);
      if (this.#last === range) this.#last = undefined;
    };
  }

  find(address: number): { name: string; handler: BusHandler; offset: number } | undefined {
    let range = this.#last;
    if (!range || address < range.start || address >= range.end) {
      range = this.#ranges.find(r => address >= r.start && address < r.end);
      if (!range) return undefined;
      this.#last = range;
    }
    return { name: range.name, handler: range.handler, offset: address - range.start };
  }

  /** Reads `width` bytes at `address` for the processor `from`. */
  read(address: number, width: Width, from: Processor): number {
    const hit = this.find(address);
    if (hit) return hit.handler.read(hit.offset, width, from);
    this.#log.once(`${this.kind}-read-${address}`, `${this.kind} read of 0x${address.toString(16)}: nothing there`);
    return ALL_ONES[width];
  }

  write(address: number, width: Width, value: number, from: Processor): void {
    const hit = this.find(address);
    if (hit) return hit.handler.write(hit.offset, width, value, from);
    this.#log.once(
      `${this.kind}-write-${address}`,
      `${this.kind} write of 0x${value.toString(16)} to 0x${address.toString(16)}: nothing there`,
    );
  }
}
