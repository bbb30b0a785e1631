/**
 * Debug exceptions around one instruction, as rules without a processor (SDM 3A 6.8.3, 6.9, 3B 17.3; APM 2, 8.5, 13.1).
 * The engine asks them for every instruction that it executes by itself: when TF is set or a breakpoint is armed.
 *
 * At the boundary between two instructions events come in this order (SDM 3A table 6-2):
 *
 * 1. traps of the instruction before: single step, data and I/O breakpoints, all in one #DB;
 * 2. NMI, unless an NMI's handler has not executed IRET yet;
 * 3. an interrupt, if RFLAGS.IF is set;
 * 4. a breakpoint on the instruction that follows: #DB, a fault, unless RFLAGS.RF is set;
 * 5. that instruction, with its own faults. #DB for an access to a debug register (DR7.GD) is one of them.
 *
 * MOV SS and POP SS hold 1 to 3 off until the instruction that follows is over, STI (if IF was clear) 2 and 3. Neither
 * holds off 4: so do AMD's processors, and the CPUID is AMD's. (Intel's suppress such a breakpoint after MOV SS.)
 */
import { DR6_BS } from '../../x86/control.ts';
import { RF, TF } from '../../x86/flags.ts';

/** What holds events off at a boundary. */
export type Shadow = 'none' | 'interrupts' | 'interrupts and traps';

/** What comes first at a boundary. `instruction`: nothing but a breakpoint on it stands before it. */
export type Next = 'trap' | 'interrupts' | 'instruction';

/** @param pending bits of DR6: the traps of instructions before, not yet delivered */
export function nextAtBoundary(pending: number, shadow: Shadow): Next {
  if (shadow === 'interrupts and traps') return 'instruction';
  if (pending) return 'trap';
  return shadow === 'none' ? 'interrupts' : 'instruction';
}

/** What the table of instructions says about one (row.ts). */
export interface DebugTraits {
  /** TF after the instruction decides whether a single-step trap follows; otherwise TF before it does. */
  readonly stepsByNewTf?: true;
  /** The instruction loads RF. All others clear it. */
  readonly loadsRf?: true;
  /** It is a branch where it does not go on at the next instruction. */
  readonly branches?: true;
  /** One execution does one element of a string; the instruction is over when RIP leaves it. */
  readonly repeats?: true;
}

/** An instruction that has been executed, or that has faulted. */
export interface Executed {
  readonly traits: DebugTraits;
  /** RFLAGS before and after. Delivery of an event clears TF and RF. */
  readonly flagsBefore: number;
  readonly flagsAfter: number;
  /** It raised an exception, and has not been completed. */
  readonly faulted: boolean;
  /** RIP is where it was. */
  readonly stays: boolean;
  /** RIP is at the instruction that follows in memory. */
  readonly goesOn: boolean;
  /** IA32_DEBUGCTL.BTF: a single step is a branch that is taken. */
  readonly stepsBranches: boolean;
  /** It has loaded SS, and traps are held off. */
  readonly loadedStack: boolean;
  /** Bits of DR6: breakpoints on its data and ports that it has hit. */
  readonly hits: number;
  /** Traps that were held off when it began. */
  readonly held: number;
}

/**
 * Traps that are pending after an instruction, as bits of DR6.
 *
 * - An instruction that faulted traps for nothing: it will be executed again. What had been held off stays pending, and
 *   comes before the handler's first instruction.
 * - A single step looks at TF as it was before: after POPF or IRET that sets TF, the trap comes one instruction later;
 *   after one that clears it, the trap comes. SYSCALL and SYSRET look at TF as they leave it (so FMASK decides, and a
 *   SYSRET that loads TF traps at once). INT n, INT3, INTO and INT1 clear TF when they deliver, and so do not trap.
 * - With IA32_DEBUGCTL.BTF only branches that are taken trap (SDM 3B 17.4.3).
 * - The single-step trap of MOV SS and POP SS is lost. Their data breakpoints are only held off.
 */
export function trapsAfter(executed: Executed): number {
  const { traits, flagsBefore, flagsAfter, faulted, loadedStack, hits, held } = executed;
  if (faulted) return held;
  const isStep = !executed.stepsBranches || (traits.branches === true && !executed.goesOn);
  const flags = traits.stepsByNewTf ? flagsAfter : flagsBefore;
  const step = flags & TF && !loadedStack && isStep ? DR6_BS : 0;
  return held | hits | step;
}

/**
 * RF after an instruction: kept if the instruction loads it, else clear. Between two elements of a repeated string
 * instruction RF is set, so that an event there shows it, and the breakpoint on the instruction is hit once.
 */
export function resumeFlagAfter({ traits, flagsAfter, faulted, stays }: Executed): number {
  if (faulted || traits.loadsRf) return flagsAfter & RF;
  return traits.repeats && stays ? RF : 0;
}

/**
 * DR6 as a debug exception for `causes` leaves it: processors clear B0-B3 and no other bit (SDM 3B 17.2.3: "certain debug
 * exceptions may clear bits 0-3"). All of them do so here, as in KVM.
 */
export function debugStatus(dr6: number, causes: number): number {
  return ((dr6 & ~0xf) | causes) >>> 0;
}
