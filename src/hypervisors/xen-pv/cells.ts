/**
 * The cells of a processor: what the fast paths (fast-paths.ts) know of a PV guest. The first ones are state of their own, which
 * fast paths change, too. The others follow from what stands elsewhere, and are published whenever that changes.
 */
import { CELLS } from '../../paravirt/fast-paths.ts';
import { IOPL_SHIFT } from '../../x86/flags.ts';
import { PF } from '../../x86/vectors.ts';
import { VMASST_TYPE_architectural_iopl, VMASST_TYPE_m2p_strict } from '../xen/constants.ts';
import type { PvAbi } from './abi.ts';
import { NO_FRAME } from './page-table-entry.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** Not 0: the kernel of a 64-bit guest runs, not its user code. */
export const IN_KERNEL = 0;
/** HYPERVISOR_stack_switch's: the selector, and the address in two words. */
export const KERNEL_SS = 1;
export const KERNEL_SP = 2;

/**
 * Frames of the two roots: of the kernel (NO_FRAME: none yet, so that no address means anything), and of a 64-bit guest's user code
 * (0: none, and no way to user mode).
 */
export const KERNEL_ROOT = 5;
export const USER_ROOT = 6;

/** One more than the port of which a byte was last read, without finding a device; 0: none. */
export const SILENT_PORT = 24;

/** Not 0: all that follows has been published. */
export const READY = 4;
/** Guest-physical address of struct vcpu_info. */
export const INFO = 7;
/** Not 0: an NMI is pending or being handled. */
export const NMI = 8;
/** Not 0: an iret loads the I/O privilege level, and frames show it; then this level, where RFLAGS has it. */
export const HAS_IOPL = 9;
export const IOPL_BITS = 10;
/** Guest-physical address of the GDT's first page, and how many of its descriptors count. */
export const GDT = 11;
export const GDT_DESCRIPTORS = 12;
/** Where system calls and page faults go, in two words each; 0: nowhere. Not 0: that masks events. */
export const SYSCALL_ADDRESS = 14;
export const SYSCALL_MASKS = 16;
export const PAGE_FAULT_MASKS = 17;
export const PAGE_FAULT_ADDRESS = 18;

/** How many entries of live tables point to their own table: then a request to flush means something. */
export const LINEAR_ENTRIES = 20;

/** Not 0: the machine has no other processor. */
export const ALONE = 21;

/** Not 0: the kernel may use ports. */
export const HAS_PORTS = 22;

/** Not 0: user code's address space lacks the machine-to-physical table. */
export const M2P_STRICT = 23;

/** In a trap's flags: entering sets evtchn_upcall_mask. */
const TI_MASK_EVENTS = 4;
const DESCRIPTORS_PER_PAGE = 512;

/** Of a processor that has done nothing yet. */
export function initialCells(abi: PvAbi): Uint32Array {
  const cells = new Uint32Array(CELLS);
  cells[IN_KERNEL] = 1;
  cells[KERNEL_SS] = abi.kernelStack.selector;
  cells[KERNEL_ROOT] = NO_FRAME;
  return cells;
}

export function setCell64(cells: Uint32Array, index: number, value: bigint): void {
  cells[index] = Number(value & 0xffffffffn);
  cells[index + 1] = Number((value >> 32n) & 0xffffffffn);
}

/** After a change of descriptor tables, privilege level, NMIs, or struct vcpu_info's place. */
export function publish({ state, vcpu }: PvVcpu): void {
  const { cells, gdtFrames } = state;
  cells[INFO] = vcpu.info;
  cells[ALONE] = vcpu.domain.vcpus.length === 1 ? 1 : 0;
  cells[NMI] = state.nmiPending || state.nmiBlocked ? 1 : 0;
  const { assists } = vcpu.domain.state;
  cells[M2P_STRICT] = assists.has(VMASST_TYPE_m2p_strict) ? 1 : 0;
  const hasIopl = assists.has(VMASST_TYPE_architectural_iopl);
  cells[HAS_IOPL] = hasIopl ? 1 : 0;
  cells[HAS_PORTS] = vcpu.state.iopl >= (hasIopl ? 0 : 1) ? 1 : 0;
  cells[IOPL_BITS] = hasIopl ? vcpu.state.iopl << IOPL_SHIFT : 0;
  cells[GDT] = (gdtFrames[0] ?? 0) * 4096;
  cells[GDT_DESCRIPTORS] = gdtFrames.length === 0 ? 0 : Math.min(state.gdtEntries, DESCRIPTORS_PER_PAGE);
}

/** After a change of the guest's entry points. */
export function publishHandlers({ state, abi }: PvVcpu): void {
  const { cells, traps, syscall64 } = state;
  setCell64(cells, SYSCALL_ADDRESS, syscall64.address);
  cells[SYSCALL_MASKS] = syscall64.maskEvents ? 1 : 0;
  setCell64(cells, PAGE_FAULT_ADDRESS, traps.address[PF]!);
  cells[PAGE_FAULT_MASKS] = traps.flags[PF]! & TI_MASK_EVENTS;
  cells[READY] = abi.width === 64 ? 1 : 0;
}
