/**
 * The page-table calls. The processor walks the guest's own tables, so an update is a store; what is checked is that it
 * is a store of something that can be: entries in RAM, of pages that exist. In lazy mode the ROM queues updates
 * (rom-code.ts), and they are made when the guest asks for a flush, ends the mode, or runs into a page fault.
 */
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { PAGE_SIZE, PTE_P } from '../../x86/paging.ts';
import { type Call, hex, type VmiCallEntry } from './call.ts';
import { VMI_LAZY_CPU_STATE, VMI_PAGE_CLONE, VMI_PAGE_LEVELS, VMI_PAGE_PAE, VMI_PAGE_ZEROED } from './calls.ts';
import type { SharedPage } from './shared-page.ts';

/** Pages have numbers below this: our PC has nothing above 4 GiB. */
const PAGES = 2 ** 20;
/** Entries of a page table: 4 bytes each, or 8 with PAE. */
const ENTRIES = { short: 1024, long: 512 };
/** The address bits of an 8-byte entry (SDM 3A 4.4.2). */
const LONG_FRAME = 0x000ffffffffff000n;
const ALLOCATE_FLAGS = VMI_PAGE_LEVELS | VMI_PAGE_PAE | VMI_PAGE_CLONE | VMI_PAGE_ZEROED;
/** How many linear mappings a guest may name, and the first's number: all of low memory. */
const SLOTS = 4;
const LOW_MEMORY_SLOT = 0;

export interface PageTables {
  /** Forgets what the guest has named and deferred. */
  reset(): void;
  /** Makes the deferred updates. @returns false if there were none. */
  applyDeferred(call: Call | undefined): boolean;
  entries: Readonly<
    Record<
      'SetPxE' | 'SetPxELong' | 'AllocatePage' | 'ReleasePage' | 'SetLinearMapping' | 'SetLazyMode' | 'ApplyDeferred',
      VmiCallEntry
    >
  >;
}

export function createPageTables(context: HypervisorContext, shared: SharedPage): PageTables {
  const { memory, kill } = context;
  /** The first linear mapping: physical address and size in bytes. */
  const lowMemory = context.state('vmi/low-memory', 1, () => ({ physical: 0, size: 0 }));

  /** Why an entry of `size` bytes with `value` cannot be at guest-physical `address`; undefined where it can. */
  function refusal(address: number, size: number, value: bigint): string | undefined {
    if (address % size !== 0) return `an entry at ${hex(address)}, across its size`;
    if (!memory.has(address, size)) return `an entry at guest-physical ${hex(address)}, where no RAM is`;
    const page = (value & LONG_FRAME) / BigInt(PAGE_SIZE);
    if (size === 8 && value & BigInt(PTE_P) && page >= BigInt(PAGES))
      return `an entry for page ${hex(page)}, which there is not`;
    return undefined;
  }

  function store(address: number, size: number, value: bigint): void {
    if (size === 8) memory.write64(address, value);
    else memory.write32(address, Number(value));
  }

  function applyDeferred(call: Call | undefined): boolean {
    if (!shared.waiting) return false;
    for (const { offset, size, value } of shared.take()) {
      const address = lowMemory.physical + offset;
      const reason =
        (size !== 4 && size !== 8) || offset >= lowMemory.size
          ? 'a queue that the ROM has not written'
          : refusal(address, size, value);
      if (reason) {
        kill(`VMI call ${call?.name ?? 'in lazy mode'}: ${reason}`);
        return true;
      }
      store(address, size, value);
    }
    return true;
  }

  function setEntry(call: Call, linear: number, size: 4 | 8, value: bigint): undefined {
    applyDeferred(call);
    const address = call.cpu.translate(BigInt(linear), { write: true });
    if (typeof address !== 'number') return call.kill(`an entry at linear ${hex(linear)}, which cannot be written`);
    const reason = refusal(address, size, value);
    if (reason) return call.kill(reason);
    store(address, size, value);
    return undefined;
  }

  /**
   * Takes note of where the guest has mapped its low memory: updates are queued by their offset in it. The ROM's code cannot tell
   * on which processor it runs, so with several, whose lazy modes are their own, it is told of no mapping: it queues nothing.
   */
  function setLowMemory(linear: number, physical: number, size: number): void {
    lowMemory.physical = physical;
    lowMemory.size = Math.max(0, Math.min(size, memory.size - physical));
    shared.setMapping(linear, context.cpus.length > 1 ? 0 : lowMemory.size);
  }

  return {
    reset() {
      shared.clear();
      lowMemory.initialise();
    },
    applyDeferred,
    entries: pageTableCalls({
      setEntry,
      setLowMemory,
      applyDeferred,
      isRam: page => memory.has(page * PAGE_SIZE, PAGE_SIZE),
    }),
  };
}

interface PageTableWork {
  setEntry(call: Call, linear: number, size: 4 | 8, value: bigint): undefined;
  setLowMemory(linear: number, physical: number, size: number): void;
  applyDeferred(call: Call): boolean;
  isRam(page: number): boolean;
}

function pageTableCalls({ setEntry, setLowMemory, applyDeferred, isRam }: PageTableWork): PageTables['entries'] {
  return {
    SetPxE: {
      name: 'SetPxE',
      arguments: ['pte', 'entry', 'flags'],
      status: 'done',
      run: call => setEntry(call, call.edx, 4, BigInt(call.eax)),
    },
    SetPxELong: {
      name: 'SetPxELong',
      arguments: ['pteLow', 'pteHigh', 'entry', 'flags'],
      status: 'done',
      run: call => setEntry(call, call.ecx, 8, (BigInt(call.edx) << 32n) | BigInt(call.eax)),
    },
    AllocatePage: {
      name: 'AllocatePage',
      arguments: ['page', 'flags', 'cloneOf', 'firstEntry', 'entries'],
      status: 'done',
      run(call) {
        const { eax: page, edx: flags } = call;
        if (!isRam(page)) return call.kill(`page ${hex(page)} is not RAM`);
        if (flags & ~ALLOCATE_FLAGS || !(flags & VMI_PAGE_LEVELS)) return call.kill(`flags ${hex(flags)}`);
        if (!(flags & VMI_PAGE_CLONE)) return undefined;
        const first = call.stack(0);
        const count = call.stack(1);
        if (!isRam(call.ecx)) return call.kill(`a clone of page ${hex(call.ecx)}, which is not RAM`);
        const most = flags & VMI_PAGE_PAE ? ENTRIES.long : ENTRIES.short;
        if (first + count > most) return call.kill(`a clone of ${count} entries from ${first} on`);
        return undefined;
      },
    },
    ReleasePage: {
      name: 'ReleasePage',
      arguments: ['page', 'flags'],
      status: 'done',
      run: call => (isRam(call.eax) ? undefined : call.kill(`page ${hex(call.eax)} is not RAM`)),
    },
    SetLinearMapping: {
      name: 'SetLinearMapping',
      arguments: ['slot', 'address', 'pages', 'firstPage'],
      status: 'done',
      run(call) {
        const { eax: slot, edx: start, ecx: pages } = call;
        const first = call.stack(0);
        if (slot >= SLOTS) return call.kill(`slot ${slot}`);
        // Linux names as much as it could map, not what there is: other mappings begin after its RAM.
        if (start % PAGE_SIZE !== 0 || start + pages * PAGE_SIZE > 2 ** 32 || first + pages > PAGES)
          return call.kill(`${pages} pages from ${hex(first)} on at ${hex(start)}`);
        if (slot !== LOW_MEMORY_SLOT) return undefined;
        applyDeferred(call);
        setLowMemory(start, first * PAGE_SIZE, pages * PAGE_SIZE);
        return undefined;
      },
    },
    SetLazyMode: {
      name: 'SetLazyMode',
      arguments: ['mode'],
      status: 'done',
      run(call) {
        if (call.eax > VMI_LAZY_CPU_STATE) return call.kill(`mode ${call.eax}`);
        applyDeferred(call);
        return undefined;
      },
    },
    ApplyDeferred: {
      name: 'ApplyDeferred',
      arguments: [],
      status: 'done',
      run(call) {
        applyDeferred(call);
        return undefined;
      },
    },
  };
}
