/**
 * A decoded record: what the interpreter reads instead of the instruction's bytes. 32 bytes in the WebAssembly memory,
 * the records of a block one after the other.
 */
import { SS } from '../x86/segments.ts';
import { state } from './x86/state.ts';

/** u16: index of the handler. */
export const HANDLER = 0;
/** u8: length of the instruction in bytes. */
export const LENGTH = 2;
/**
 * u8: outside 64-bit mode the number of the memory operand's segment register; in 64-bit mode what is added to its offset, by
 * its place in the state: the base of FS or GS, or zero. There STACK_SEGMENT says that SS is the default segment.
 */
export const SEGMENT = 3;
export const STACK_SEGMENT = state.SEGMENT_BASE + 8 * SS;
/**
 * u8: byte offset of the register operand in its file (G, Z, V, P: general registers from GPR, xmm from XMM …), or a
 * number (S, C, D).
 */
export const REGISTER = 4;
/** u8: the same for the r/m operand; of a memory operand the base register's offset. */
export const BASE = 5;
/** u8: offset of the index register. */
export const INDEX = 6;
/** u8: log2 of the scale. */
export const SCALE = 7;
/** i32. */
export const DISPLACEMENT = 8;
/** u16: offset of the instruction in its page. */
export const OFFSET = 12;
/** u8: number of instructions before this one in the block. */
export const POSITION = 14;
/** u8: offset of the register in VEX.vvvv in its file. */
export const VECTOR = 15;
/** i64: immediate, sign-extended to the operand's width; for branches the target relative to the page. */
export const IMMEDIATE = 16;
/** u32: record that the taken branch and the fall-through lead to, once known; 0 before. */
export const TAKEN = 24;
export const NOT_TAKEN = 28;

/**
 * What stands before a block's first record, 16 bytes: u32 guest-physical address of its code, u16 number of records,
 * u8 code size (0: 16 bits, 1: 32, 2: 64), u32 visits: how often the interpreter has entered it, u32 offset in the page
 * of the byte after its last instruction.
 */
export const HEADER = 16;
export const HEADER_PHYSICAL = 0;
export const HEADER_COUNT = 4;
export const HEADER_CODE = 6;
export const HEADER_VISITS = 8;
export const HEADER_END = 12;

/** Handlers that are not instructions. */
export const STALE = 0;
/** Leaves the loop: planted by the engine to stop at an exact instruction. */
export const STOP = 1;
/** Goes on at the next record's address: the block was cut. */
export const CHAIN = 2;
/** Checks that the page after this one is still the one the next instruction's tail was decoded from (IMMEDIATE). */
export const CROSSING = 3;
/**
 * SCRATCH = ((base + (index << scale) + displacement) & IMMEDIATE) + the base of segment REGISTER (an offset in the
 * state).
 */
export const ADDRESS = 4;
/** Enters translated code: TAKEN is its function's index in the table, NOT_TAKEN the same place for the interpreter. */
export const TRANSLATED = 5;
/** Raises exception IMMEDIATE (#UD; #GP for an instruction that is too long). */
export const UNDEFINED = 6;
export const FIRST_INSTRUCTION = 7;

/** Blocks hold at most so many instructions. A run leaves when fewer are left of its budget. */
export const BLOCK_LIMIT = 64;

/**
 * What a handler that is a function of its own returns, if not 0: FAULTED, or AT_RIP plus the offset of a link (0:
 * none).
 */
export const FAULTED = 1;
export const AT_RIP = 2;

/** Why `run` returned. */
export const EXIT_BUDGET = 0;
export const EXIT_FAULT = 1;
/** No block is known at RIP: translate it. */
export const EXIT_TRANSLATE = 2;
/** A STOP record was met (RECORD). */
export const EXIT_STOP = 3;
/** Fetching at RIP faulted: FAULT is set. */
export const EXIT_FETCH_FAULT = 4;
/** A CROSSING record found another page. */
export const EXIT_CROSSING = 5;
/** The block at RIP has been entered a multiple of VISITS_STEP times: perhaps it is worth translating. */
export const EXIT_HOT = 6;
/** The block at RIP reaches beyond CS's limit. */
export const EXIT_LIMIT = 7;
