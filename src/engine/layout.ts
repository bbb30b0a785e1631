/**
 * How the engine divides its WebAssembly memory. Addresses in bytes. Guest RAM is at `guestOrigin`. Only what further
 * processors need of their own comes after it (`processorArea`), so that code that has been translated for a machine with
 * one processor serves a machine with several.
 */
import { NOTES_A_PAGE } from '../memory/memory.ts';
import { CELLS } from '../paravirt/fast-paths.ts';
import { FIELDS } from './x86/fields.ts';
import { CRC_TABLES, PATH_CELLS, PATH_COUNTS, PATH_COUNTS_LIMIT, STATE, STATE_SIZE } from './x86/state.ts';

/** Places in the interpreters' tables of functions that a hypervisor's fast paths take (hypervisor-paths.ts); no handler stands there. */
export const PATH_SYSCALL = 0;
export const PATH_EXCEPTION = 1;

/** A TLB entry: tag for reads, for writes, for execution (u64 each: the page's linear address), then the addend, flags. */
export const TLB_ENTRY = 32;
export const TLB_READ = 0;
export const TLB_WRITE = 8;
export const TLB_EXECUTE = 16;
/** u32: guest RAM is at (linear address + addend) mod 2^32 in the WebAssembly memory. */
export const TLB_ADDEND = 24;
/** u32: bit 0 = global page. */
export const TLB_FLAGS = 28;
/** Direct-mapped: two pages in use that share an entry send each other to the interpreter, and the larger it is, the rarer that. */
export const TLB_ENTRIES = 4096;
export const TLB_BANK = TLB_ENTRY * TLB_ENTRIES;
export const TLB_BANKS = 24;

/**
 * Which entries of a set of banks have been filled since it was last emptied: two lists a set, of pages that are the address
 * space's own and of global ones. A list: u32 count, or more than TLB_NOTES if there were too many, then the entries' addresses.
 */
export const TLB_NOTES_AREA = 0x10000;
export const TLB_NOTES_LIST = 0xc00;
export const TLB_NOTES = TLB_NOTES_LIST / 4 - 1;

/**
 * An empty bank, copied over one that is to be flushed. It is also the bank in use while alignment is checked (CR0.AM, RFLAGS.AC,
 * CPL 3): nothing is entered in it, so every access takes the slow path, which checks.
 */
export const TLB_EMPTY = TLB_BANK;
export const TLB_AREA = TLB_EMPTY + TLB_BANK;

/**
 * Block tables, one a code size (16, 32, 64): sets of two entries of {u32 guest-physical address, u32 record}. A free entry's
 * address is BLOCK_NONE, which no RAM has: blocks are looked up for addresses below the end of RAM alone (look-up.ts).
 */
export const BLOCK_SETS = 32768;
export const BLOCK_ENTRY = 8;
export const BLOCK_WAYS = 2;
export const BLOCK_SET = BLOCK_ENTRY * BLOCK_WAYS;
export const BLOCK_TABLE = BLOCK_SETS * BLOCK_SET;
export const BLOCK_NONE = 0xffffffff;
export const BLOCK_RECORD = 4;
export const BLOCK_AREA = TLB_AREA + TLB_BANK * TLB_BANKS;

/**
 * Jump caches, one for 32-bit code and one for 64-bit code: where translated code goes on at a linear address. Sets of two
 * entries of {u64 linear address, u64 key << 16 | index in the table of regions}. An entry counts while its key is that of the TLB bank in use:
 * then the pages of the region are still mapped where they were when it was entered last.
 */
export const JUMP_CACHE = BLOCK_AREA + BLOCK_TABLE * 3;
export const JUMP_ENTRY = 16;
export const JUMP_SETS = 2048;
export const JUMP_TARGET = 8;
export const JUMP_CACHE_BYTES = JUMP_SETS * 2 * JUMP_ENTRY;
/**
 * The banks' keys, u64 each, by the bank's address / TLB_BANK; in place 0 the last one that was given. A bank gets a new key
 * whenever a page that it had for execution leaves it.
 */
export const TLB_KEYS = JUMP_CACHE + 2 * JUMP_CACHE_BYTES;

/** A key for every bank that the 4 GiB of a WebAssembly memory have room for. */
const TLB_KEYS_BYTES = (0x100000000 / TLB_BANK) * 8;

/** Where the interpreter's latest indirect jumps and calls went: u32 count, and from 16 on a ring of {u64 from, u64 to}. */
export const JUMPS = TLB_KEYS + TLB_KEYS_BYTES;
export const JUMPS_RING = 16;
export const JUMPS_ENTRIES = 256;

/** Decoded records. */
export const RECORD_AREA = JUMPS + 0x2000;
export const RECORD_SIZE = 32;
export const RECORD_BYTES = 20 << 20;

/** One byte per guest page: what it is. */
export const PAGE_KIND = RECORD_AREA + RECORD_BYTES;
export const PAGE_RAM = 0;
/** RAM that translated code came from: writes take the slow path. */
export const PAGE_CODE = 1;
/** Not RAM: devices. */
export const PAGE_DEVICE = 2;

/** RAM may be at most this large: above it lie the devices of a PC. */
export const MAXIMUM_RAM = 0xc0000000;

/**
 * Instructions that a region has at most. Translated code counts whole stretches, so a region is entered only while the budget
 * (FUEL) has more than so many instructions left.
 */
export const REGION_LIMIT = 300;

/** Processors of a machine, at most. */
export const MAXIMUM_PROCESSORS = 64;
/** The sets of TLB banks, each with banks for three kinds of access and its notes. */
export const TLB_SETS = TLB_BANKS / 3;
const TLB_NOTES_BYTES = TLB_SETS * 2 * TLB_NOTES_LIST;

/** What each processor has of its own in the WebAssembly memory: addresses. */
export interface ProcessorArea {
  /** The banks of its TLB. */
  banks: number;
  /** The notes of its TLB. */
  notes: number;
  /** Where its state stands while another processor executes. The only processor of a machine is never parked. */
  parked: number;
}

export interface Layout {
  ramSize: number;
  processors: readonly ProcessorArea[];
  pageKind: number;
  /** One u64 per guest page: bit n = the n-th 64 bytes hold translated code. */
  codeChunks: number;
  guestOrigin: number;
  /** What a hypervisor notes of pages (GuestMemory.notes). */
  notes: number;
  /** Size of the whole WebAssembly memory in 64 KiB pages. */
  wasmPages: number;
  /** The same for one processor: what modules ask for, so that machines with one and with several share them. */
  importedPages: number;
}

/** @param processors how many; 1 to MAXIMUM_PROCESSORS */
export function layout(ramSize: number, processors = 1): Layout {
  const pages = ramSize / 4096;
  const align = (address: number) => Math.ceil(address / 65536) * 65536;
  const codeChunks = align(PAGE_KIND + pages);
  const guestOrigin = align(codeChunks + pages * 8);
  const areas: ProcessorArea[] = [{ banks: TLB_AREA, notes: TLB_NOTES_AREA, parked: 0 }];
  let end = guestOrigin + ramSize;
  if (processors > 1) {
    // Banks start at multiples of their size: the interpreter computes an entry's bank and number from its address.
    end = Math.ceil(end / TLB_BANK) * TLB_BANK;
    for (let i = 1; i < processors; i++, end += TLB_BANK * TLB_BANKS) areas.push({ banks: end, notes: 0, parked: 0 });
    for (const area of areas) {
      if (area.notes === 0) {
        area.notes = end;
        end += TLB_NOTES_BYTES;
      }
      area.parked = end;
      end += STATE_SIZE;
    }
  }
  const notes = Math.ceil(end / 8) * 8;
  end = notes + pages * NOTES_A_PAGE;
  return {
    ramSize,
    processors: areas,
    pageKind: PAGE_KIND,
    codeChunks,
    guestOrigin,
    notes,
    wasmPages: Math.ceil(end / 65536),
    importedPages: Math.ceil((guestOrigin + ramSize) / 65536),
  };
}

if (FIELDS.SPACE_OWNER.count !== TLB_SETS) throw new Error('layout: the state has not one owner for each set of banks');
if (MAXIMUM_RAM > BLOCK_NONE)
  throw new Error('layout: the mark of a free entry of the block table is an address in RAM');
if (
  STATE + STATE_SIZE > PATH_CELLS ||
  PATH_CELLS + MAXIMUM_PROCESSORS * CELLS * 4 > PATH_COUNTS ||
  PATH_COUNTS + PATH_COUNTS_LIMIT * 8 > CRC_TABLES ||
  CRC_TABLES + 8192 > TLB_NOTES_AREA ||
  TLB_NOTES_AREA + TLB_NOTES_BYTES > TLB_EMPTY
)
  throw new Error(
    'layout: the state, what fast paths have, the tables of CRC32, the notes of the TLB and the TLB overlap',
  );
