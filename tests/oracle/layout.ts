/**
 * Where everything of a test case stands: the window of memory, the segments, and the image, one flat array of bytes that
 * holds a whole user-visible machine state. Cases are images derived from a seed (initial.ts), answers are the bytes of
 * the image that an instruction changed (vectors.ts).
 */

export type Mode = 64 | 32 | 16;
export const MODES: readonly Mode[] = [64, 32, 16];

// ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export const PAGE_SIZE = 4096;
/** Linear address of the window: guard, code (read, execute), guard, two data pages, one read-only page, guard. */
export const WINDOW = 0x2000_0000;
export const WINDOW_PAGES = 7;
export const CODE_PAGE = 1;
export const DATA_PAGE = 3;
export const READ_ONLY_PAGE = 5;
export const CODE = WINDOW + CODE_PAGE * PAGE_SIZE;
export const DATA = WINDOW + DATA_PAGE * PAGE_SIZE;
/** Two writable pages and the read-only one. */
export const DATA_SIZE = 3 * PAGE_SIZE;
export const WRITABLE_SIZE = 2 * PAGE_SIZE;

/**
 * Fixed places in the data pages (offsets from DATA). The first two are stamped with the case's own registers, so that
 * comparisons with memory come out equal now and then; they are the one part of memory that differs from case to case.
 */
export const XMM_STAMPS = 0x000;
export const GPR_STAMPS = 0x100;
export const STAMPS_SIZE = 0x180;
/** Eight far pointers, 16 bytes each. */
export const FAR_POINTERS = 0x180;
/** FXSAVE images that FXRSTOR accepts: two, 512 bytes each; then XSAVE images, two at a stride of 1024. */
export const FX_IMAGES = 0x200;
export const XSAVE_IMAGES = 0x800;
/** Frames for RETF and IRET, 64 bytes each (in the read-only page, which can be popped from all the same). */
export const FRAMES = 0x2100;
export const FRAME_COUNT = 24;
/** Behind them as many filled with selectors, for POP of segment registers. */
export const SELECTOR_FRAME_COUNT = 8;

// ── segments ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** One entry of the local descriptor table, as struct user_desc of modify_ldt has it. */
export interface Descriptor {
  base: number;
  /** In bytes, or in pages with `pages`. */
  limit: number;
  contents: 'data' | 'expand-down' | 'code' | 'conforming';
  wide?: boolean;
  readOnly?: boolean;
  pages?: boolean;
  absent?: boolean;
}

/** Entry n has selector 8n + 7. Entry 0 stays empty. */
export const LDT: readonly (Descriptor | undefined)[] = [
  undefined,
  { base: 0, limit: 0xfffff, contents: 'code', wide: true, pages: true }, // 0x0f
  { base: WINDOW, limit: 0xffff, contents: 'code', wide: true }, // 0x17
  { base: WINDOW, limit: 0xffff, contents: 'code' }, // 0x1f
  { base: 0, limit: 0xfffff, contents: 'data', wide: true, pages: true }, // 0x27
  { base: WINDOW, limit: 0x2ffff, contents: 'data', wide: true }, // 0x2f
  { base: WINDOW, limit: 0xffff, contents: 'data' }, // 0x37
  { base: WINDOW, limit: 0x3fff, contents: 'expand-down', wide: true }, // 0x3f
  { base: WINDOW, limit: 0xffff, contents: 'data', readOnly: true }, // 0x47
  { base: WINDOW, limit: 0xffff, contents: 'code', wide: true, readOnly: true }, // 0x4f: execute only
  { base: WINDOW, limit: 0xffff, contents: 'data', wide: true, absent: true }, // 0x57
  { base: WINDOW, limit: 0xffff, contents: 'conforming', wide: true, absent: true }, // 0x5f: Linux allows no other conforming one
  { base: WINDOW, limit: 0x3fff, contents: 'expand-down' }, // 0x67
  { base: WINDOW, limit: 0x37ff, contents: 'data', wide: true }, // 0x6f
];
export const selectorOf = (entry: number): number => entry * 8 + 7;

/** Linux's flat user segments, in the global table. */
export const USER32_CS = 0x23;
export const USER_DS = 0x2b;
export const USER_CS = 0x33;

/** Bases behind null selectors in FS and GS, in 64-bit mode. */
export const FS_BASE = BigInt(DATA);
export const GS_BASE = BigInt(WINDOW - 0x1000_0000);

/** What the base of a segment is; null selectors have 0 (FS and GS: see above). */
export function baseOf(selector: number): number {
  return selector & 4 ? (LDT[selector >> 3]?.base ?? 0) : 0;
}

// ── the image ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** General registers in the manual's numbering, 8 bytes each. */
export const GPR = 0x000;
export const RIP = 0x080;
/** u32; TF and RF stay 0 here. */
export const FLAGS = 0x088;
/** Selectors, u16 each, in the manual's order: ES CS SS DS FS GS. */
export const SELECTORS = 0x08c;
export const FSBASE = 0x098;
export const GSBASE = 0x0a0;
export const MXCSR = 0x0a8;
export const FCW = 0x0ac;
export const FSW = 0x0ae;
/** u8: bit n set = physical register n is not empty. */
export const FTW = 0x0b0;
/** Physical x87 registers, 16 bytes each, of which 10 count. */
export const X87 = 0x0d0;
export const XMM = 0x150;
/** The data pages. */
export const MEMORY = 0x300;
/** Bits 255-128 of YMM0 to YMM15. */
export const YMM_HIGH = MEMORY + DATA_SIZE;
export const IMAGE_SIZE = YMM_HIGH + 256;

export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
