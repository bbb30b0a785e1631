/**
 * The page behind the ROM in which its code and the hypervisor meet: the lazy mode, the first linear mapping, and the
 * queue of page-table updates that lazy mode defers. The guest can write there what it likes, so the hypervisor
 * believes nothing of it but that the guest wanted it written.
 */
import type { GuestMemory } from '../../memory/memory.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';

/** Where the ROM is: a multiple of 2 KiB of the option ROMs' space, 0xC0000 to 0xE0000, in which Linux looks. */
export const ROM_ADDRESS = 0xd0000;
export const ROM_SIZE = 0x1000;
const PAGE = ROM_ADDRESS + ROM_SIZE;

/**
 * Offsets in the page. All are 32-bit words; the mapping is of physical address `slotPhysical`, which the ROM need not
 * know.
 */
export const SHARED = { lazyMode: 0, count: 4, slotStart: 8, slotSize: 12, queue: 32 } as const;

/**
 * An update: which byte of the linear mapping's the entry is at, the entry's size in bytes, and its value's two halves.
 */
export const UPDATE = { offset: 0, size: 4, low: 8, high: 12 } as const;
/** The ROM's code shifts by it. */
export const UPDATE_SHIFT = 4;
export const QUEUE_CAPACITY = Math.floor((PAGE_SIZE - SHARED.queue) / (1 << UPDATE_SHIFT));

export interface Update {
  offset: number;
  size: number;
  value: bigint;
}

export class SharedPage {
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  clear(): void {
    this.#memory.fill(PAGE, PAGE_SIZE);
  }

  /** Whether there are deferred updates. */
  get waiting(): boolean {
    return this.#memory.read32(PAGE + SHARED.count) !== 0;
  }

  /** What the ROM's code takes for the linear mapping; a size of 0 is none. In bytes. */
  setMapping(start: number, size: number): void {
    this.#memory.write32(PAGE + SHARED.slotStart, start);
    this.#memory.write32(PAGE + SHARED.slotSize, size);
  }

  /** Takes the updates out, oldest first. */
  take(): Update[] {
    const memory = this.#memory;
    const count = Math.min(memory.read32(PAGE + SHARED.count), QUEUE_CAPACITY);
    memory.write32(PAGE + SHARED.count, 0);
    return Array.from({ length: count }, (_, index) => {
      const at = PAGE + SHARED.queue + (index << UPDATE_SHIFT);
      return {
        offset: memory.read32(at + UPDATE.offset),
        size: memory.read32(at + UPDATE.size),
        value: memory.read64(at + UPDATE.low),
      };
    });
  }
}
