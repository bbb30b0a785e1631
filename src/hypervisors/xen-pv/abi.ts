/**
 * What 64-bit PV guests and 32-bit ones (PAE) do differently: how wide things are, in which ring the kernel runs, which
 * frames it gets and gives back, and where Xen's own part of the address space lies. Nothing else in this folder knows
 * the width: abi64.ts and abi32.ts are the two.
 */

import type { Exception, Segment } from '../../paravirt/processor.ts';
import type { Call, HypercallTable } from '../xen/hypercall.ts';
import type { Bounce } from './bounce.ts';
import type { PvDomain } from './pv-domain.ts';
import type { Callback, PvVcpu } from './pv-vcpu.ts';

/** What CALLBACKOP_register is given. The selector counts in 32-bit guests only. */
export interface CallbackRegistration {
  type: number;
  flags: number;
  selector: number;
  address: bigint;
}

/** Where a SYSCALL goes that is no hypercall, as which selectors it is shown, and what comes of it if nothing is there. */
export interface SystemCall {
  callback: Callback;
  code: number;
  stack: number;
  /** RFLAGS bits that its handler finds clear besides those that every one does. */
  clear: bigint;
  refusal: Exception;
}

export interface PvAbi {
  /** Bits of a pointer and of a C long. */
  readonly width: 32 | 64;
  /** Bytes of the two, and of a frame number in the lists of frames. */
  readonly long: 4 | 8;
  /** Levels of the guest's page tables; the root is the table of the highest. */
  readonly levels: 3 | 4;
  /** The ring of the guest's kernel. Its user code runs in ring 3. */
  readonly kernelRing: 1 | 3;
  /** The magic word of struct start_info. */
  readonly magic: string;
  /** Xen's descriptors in every GDT, by selector: flat segments for the guest (public/arch-x86/xen-*.h). */
  readonly descriptors: readonly (readonly [selector: number, descriptor: bigint])[];
  /** Those of the kernel, with their hidden parts. */
  readonly kernelCode: Segment;
  readonly kernelStack: Segment;
  /** What the segment registers hold at the start. */
  readonly segments: Readonly<Record<'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs', Segment>>;
  /** Guest-virtual: where the machine-to-physical table begins and may end, and the last frame it would then hold. */
  readonly m2p: { start: bigint; end: bigint; maxFrame: bigint };
  /** Entries of page tables that are Xen's: in tables of which type (PGT_*), and from where to where. */
  readonly xenSlots: { type: number; first: number; last: number };
  /** Bytes of struct mmuext_op. */
  readonly mmuextSize: number;
  /** The vector of the INT that makes a hypercall; undefined: SYSCALL does. */
  readonly hypercallVector: number | undefined;
  /** Call gates of the guest are passed in the processor's place (call-gates.ts). */
  readonly passesGates: boolean;
  /** The guest has the MSRs of segment bases. */
  readonly segmentBases: boolean;

  /** True for an address that a bounce or a hypercall argument may use: one outside Xen's area. */
  isGuestAddress(linear: bigint): boolean;
  /** As `isGuestAddress`, of an address in two halves. */
  isGuestAddressOfHalves(low: number, high: number): boolean;
  /** A present code or data descriptor of the guest's; false if it may not have it. What Xen changes is changed in it. */
  checkSegment(descriptor: { low: number; high: number }): boolean;
  /** True if a handler was registered: the guest may be entered there. */
  isRegistered(selector: number, address: bigint): boolean;
  /** CR3 as the guest reads it, and the frame that a value it writes names. */
  cr3Of(root: number): bigint;
  rootOf(cr3: bigint): number;
  /** 128 slots of 32 bytes, each a whole hypercall; the rest are breakpoints. */
  hypercallPage(): Uint8Array;
  /** Pushes a bounce's frame and continues at its entry point. */
  bounce(pv: PvDomain, v: PvVcpu, bounce: Bounce, rip: bigint): void;
  /** HYPERVISOR_iret. */
  iret(pv: PvDomain, v: PvVcpu): void;
  systemCall(v: PvVcpu): SystemCall;
  /** What CALLBACKOP_register points to; undefined for -EFAULT. */
  callbackRegistration(call: Call, pointer: bigint): CallbackRegistration | undefined;
  /** Hypercalls that are other ones than in abi64.ts's guests. */
  hypercalls(domain: () => PvDomain): HypercallTable;
}
