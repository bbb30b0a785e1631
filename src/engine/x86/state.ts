/**
 * Where a processor's registers stand in the WebAssembly memory. `state` has each field's offset from the processor's base
 * (fields.ts has the fields); the base of the processor that runs is STATE.
 */
import { OFFSETS } from './fields.ts';

export { STATE_SIZE } from './fields.ts';

/** Offsets, by the fields' names: `state.CR0`. */
export const state = OFFSETS;

/** Absolute address of the state of the processor that runs. Page 0 stays empty: a stray null address hits nothing there. */
export const STATE = 0x1000;

/** Set in state.FAULT with the vector, because 0 is a vector, too. */
export const FAULT_SET = 0x100;

/**
 * Values of state.ACTIVITY, as a VMCS has them (SDM 3C 24.4.2), and one more: whether a processor executes instructions.
 * Those from INITIALISED on wait to be started.
 */
export const ACTIVE = 0;
export const HALTED = 1;
/** Halted by a hypervisor until an interrupt waits, be it kept out by RFLAGS.IF. (A VMCS's 2 is a shutdown; here that ends the run.) */
export const IDLE = 2;
/** As a reset or an INIT has left it ("wait-for-SIPI"). */
export const INITIALISED = 3;
/** Stopped by a hypervisor, where it was. */
export const STOPPED = 4;

/** Bits of state.NATIVE. */
export const NATIVE_EXCEPTIONS = 1;
export const NATIVE_SYSCALLS = 2;
/** A hypervisor's fast path is asked first (hypervisor-paths.ts). */
export const PATH_SYSCALLS = 4;
export const PATH_EXCEPTIONS = 8;
/** Writes of IA32_SPEC_CTRL and IA32_PRED_CMD, which hypervisors leave to the processor: kernels write them at each way in and out. */
export const NATIVE_SPECULATION = 16;

/** Absolute addresses of what hypervisors' fast paths have: cells for each processor, and counts (f64). */
export const PATH_CELLS = 0x3000;
export const PATH_COUNTS = 0xb000;
export const PATH_COUNTS_LIMIT = 64;

/** Absolute address of CRC32's tables (crc32.ts), 8 KiB. */
export const CRC_TABLES = 0xe000;
