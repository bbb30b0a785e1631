/** What NVM Express fixes (NVM Express Base specification 1.3): commands, their answers, and the memory they name. */
import type { GuestMemory } from '../../memory/memory.ts';
import { GuestBuffer, type Piece } from '../guest-buffer.ts';

export const COMMAND_BYTES = 64;
export const COMPLETION_BYTES = 16;
const PAGE = 4096;

/** Statuses (4.6.1): the code, and in bits 8 to 10 its type. */
export const SUCCESS = 0x000;
export const INVALID_OPCODE = 0x001;
export const INVALID_FIELD = 0x002;
export const DATA_TRANSFER_ERROR = 0x004;
export const INVALID_NAMESPACE = 0x00b;
export const WRITE_PROTECTED = 0x020;
export const LBA_OUT_OF_RANGE = 0x080;
export const INVALID_COMPLETION_QUEUE = 0x100;
export const INVALID_QUEUE = 0x101;
export const INVALID_QUEUE_SIZE = 0x102;
export const EVENT_LIMIT_EXCEEDED = 0x105;
export const INVALID_VECTOR = 0x108;
export const INVALID_DELETION = 0x10c;
export const WRITE_FAULT = 0x280;
export const UNRECOVERED_READ_ERROR = 0x281;

/** What comes of a command: its status, the first word of its completion, and the bytes that the host moved or cleared. */
export interface Answer {
  readonly status: number;
  readonly result?: number;
  readonly work?: number;
}

export const answer = (status: number): Answer => ({ status });

/** A command, a copy. */
export class Command {
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, COMMAND_BYTES);
  }

  get opcode(): number {
    return this.#view.getUint8(0);
  }

  /** By which the driver knows it. */
  get id(): number {
    return this.#view.getUint16(2, true);
  }

  get namespace(): number {
    return this.#view.getUint32(4, true);
  }

  /** A word of the command's own, from 10 on. */
  word(number: number): number {
    return this.#view.getUint32(4 * number, true);
  }

  /** Words 10 and 11, a block's number. */
  get block(): bigint {
    return this.#view.getBigUint64(40, true);
  }

  /** The first of its two pointers; see `buffer`. */
  get pointer(): number {
    return this.#address(24);
  }

  #address(offset: number): number {
    return this.#view.getUint32(offset, true) + this.#view.getUint32(offset + 4, true) * 2 ** 32;
  }

  /**
   * The memory for `length` bytes of data (4.3): pages, of which the first may begin in its middle; from the third on they are
   * in a list that the second pointer leads to. @returns undefined if the driver names memory that it does not have
   */
  buffer(memory: GuestMemory, length: number): GuestBuffer | undefined {
    // Scatter-gather lists are not here.
    if (this.#view.getUint8(1) >> 6 !== 0) return undefined;
    const { pointer } = this;
    const inFirst = Math.min(length, PAGE - (pointer % PAGE));
    const further = this.#furtherPages(memory, Math.ceil((length - inFirst) / PAGE));
    if (!further?.every(address => address % PAGE === 0)) return undefined;
    const pieces: Piece[] = [{ address: pointer, length: inFirst }];
    for (const [index, address] of further.entries())
      pieces.push({ address, length: Math.min(PAGE, length - inFirst - index * PAGE) });
    return GuestBuffer.over(memory, pieces);
  }

  /** @returns the addresses of `count` pages; undefined if their list is not in RAM */
  #furtherPages(memory: GuestMemory, count: number): number[] | undefined {
    const second = this.#address(32);
    if (count < 2) return count === 0 ? [] : [second];
    const pages: number[] = [];
    for (let at = second; pages.length < count; ) {
      if (at % 8 || !memory.has(at, 8)) return undefined;
      const entry = memory.read32(at) + memory.read32(at + 4) * 2 ** 32;
      // The last entry of a list's page leads to the list's next page, if there is more to name than it can.
      const leads = at % PAGE === PAGE - 8 && count - pages.length > 1;
      if (leads && entry % PAGE) return undefined;
      if (!leads) pages.push(entry);
      at = leads ? entry : at + 8;
    }
    return pages;
  }
}
