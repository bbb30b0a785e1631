/** How the engine divides its WebAssembly memory. Addresses in bytes; guest RAM comes last, at `guestOrigin`. */
import { CRC_TABLES, STATE, STATE_SIZE } from './x86/state.ts';

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

/** Where the interpreter's latest indirect jumps and calls went: u32 count, and from 16 on a ring of {u64 from, u64 to}. */
export const JUMPS = TLB_KEYS + 0x100;
export const JUMPS_RING = 16;
export const JUMPS_ENTRIES = 256;

/** Decoded records. */
export const RECORD_AREA = TLB_KEYS + 0x2000;
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

export interface Layout {
  ramSize: number;
  pageKind: number;
  /** One u64 per guest page: bit n = the n-th 64 bytes hold translated code. */
  codeChunks: number;
  guestOrigin: number;
  /** Size of the whole WebAssembly memory in 64 KiB pages. */
  wasmPages: number;
}

export function layout(ramSize: number): Layout {
  const pages = ramSize / 4096;
  const align = (address: number) => Math.ceil(address / 65536) * 65536;
  const codeChunks = align(PAGE_KIND + pages);
  const guestOrigin = align(codeChunks + pages * 8);
  return {
    ramSize,
    pageKind: PAGE_KIND,
    codeChunks,
    guestOrigin,
    wasmPages: Math.ceil((guestOrigin + ramSize) / 65536),
  };
}

if (MAXIMUM_RAM > BLOCK_NONE)
  throw new Error('layout: the mark of a free entry of the block table is an address in RAM');
if (
  STATE + STATE_SIZE > CRC_TABLES ||
  CRC_TABLES + 8192 > TLB_NOTES_AREA ||
  TLB_NOTES_AREA + (TLB_BANKS / 3) * 2 * TLB_NOTES_LIST > TLB_EMPTY
)
  throw new Error('layout: the state, the tables of CRC32, the notes of the TLB and the TLB overlap');
