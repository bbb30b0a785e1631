/**
 * Exceptions, events and system calls of a PV guest: to which of the guest's entry points they go.
 */

import type { Exception } from '../../paravirt/processor.ts';
import { CR0_TS, DR6_BS } from '../../x86/control.ts';
import * as vectors from '../../x86/vectors.ts';
import { hypercall } from '../xen/hypercalls.ts';
import { type Bounce, bounce, RFLAGS_TF } from './bounce.ts';
import { publish } from './cells.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** Trap table flags: bit 2. */
const TI_MASK_EVENTS = 4;
const TI_DPL = 3;
/** Bytes of SYSCALL. */
const SYSCALL_LENGTH = 2n;

/** Selectors that a frame shows in place of those that are loaded. */
type Shown = Pick<Bounce, 'cs' | 'ss'>;

/** What a #DB leaves in DR6 of the breakpoints before: nothing (SDM 3B 17.2.3). */
const DR6_BREAKPOINTS = 0xfn;

/** An instruction that Xen has done in the guest's place is over: with TF set, its single-step trap comes. */
export function stepOver(pv: PvDomain, v: PvVcpu): void {
  const { cpu } = v;
  if ((cpu.get('flags') & RFLAGS_TF) === 0n) return;
  cpu.set('dr6', (cpu.get('dr6') & ~DR6_BREAKPOINTS) | BigInt(DR6_BS));
  exceptionToGuest(pv, v, { vector: vectors.DB });
}

/** An exception of the guest's goes to its trap table. RIP stands where the frame shall show it. */
export function exceptionToGuest(pv: PvDomain, v: PvVcpu, exception: Exception, shown: Shown = {}): void {
  const { vector } = exception;
  let code = vectors.hasErrorCode(vector) ? (exception.code ?? 0) : undefined;
  if (vector === vectors.PF) {
    const address = exception.address ?? 0n;
    v.cpu.set('cr2', address);
    v.writeCr2(address);
    // The processor saw CPL 3 in both modes.
    code = v.kernelMode ? code! & ~vectors.PAGE_FAULT_US : code! | vectors.PAGE_FAULT_US;
  }
  // A guest that switches floating point lazily finds it switched on again in its handler.
  if (vector === vectors.NM) v.cpu.set('cr0', v.cpu.get('cr0') & ~BigInt(CR0_TS));
  trap(pv, v, vector, code, shown);
}

function trap(pv: PvDomain, v: PvVcpu, vector: number, code: number | undefined, shown: Shown = {}): void {
  bounce(pv, v, {
    what: `exception ${vector}${code === undefined ? '' : ` (error code 0x${code.toString(16)})`}`,
    address: v.state.traps.address[vector],
    selector: v.state.traps.selector[vector],
    maskEvents: (v.state.traps.flags[vector] & TI_MASK_EVENTS) !== 0,
    code,
    ...shown,
  });
}

/** INT n, INT3 and INTO. */
export function softwareInterruptToGuest(pv: PvDomain, v: PvVcpu, vector: number, next: bigint): void {
  if (vector === pv.abi.hypercallVector && v.kernelMode) {
    v.cpu.set('rip', next);
    makeHypercall(pv, v);
    return;
  }
  // INT3 and INTO are exceptions to Xen, which does not check the privilege to raise them.
  const isTrap = vector === vectors.BP || vector === vectors.OF;
  const allowed = v.state.traps.flags[vector] & TI_DPL;
  if (!isTrap && (v.state.traps.address[vector] === 0n || allowed < (v.kernelMode ? 1 : 3))) {
    exceptionToGuest(pv, v, { vector: vectors.GP, code: vector * 8 + vectors.ERROR_IDT });
    return;
  }
  v.cpu.set('rip', next);
  trap(pv, v, vector, undefined);
}

/** A SYSCALL that is no hypercall. RIP is past it; RCX and R11 hold what it put there. */
export function syscallToGuest(pv: PvDomain, v: PvVcpu): void {
  const { callback, code: cs, stack: ss, clear, refusal } = pv.abi.systemCall(v);
  if (!pv.abi.isRegistered(callback.selector, callback.address)) {
    v.cpu.set('rip', v.cpu.get('rip') - SYSCALL_LENGTH);
    exceptionToGuest(pv, v, refusal, { cs, ss });
    return;
  }
  bounce(pv, v, {
    what: 'system call',
    address: callback.address,
    selector: callback.selector,
    maskEvents: callback.maskEvents,
    cs,
    ss,
    clear,
  });
}

/** A hypercall instruction was executed by the guest's kernel. */
export function makeHypercall(pv: PvDomain, v: PvVcpu): void {
  hypercall(pv.hypercalls, v.vcpu);
  // The guest opens its upcall mask by a plain store and relies on the next hypercall to look.
  deliverPending(pv, v);
}

/** True if something waits that could be delivered now. */
export function deliverable(v: PvVcpu): boolean {
  return (v.state.nmiPending && !v.state.nmiBlocked) || (v.vcpu.upcallPending && !v.vcpu.upcallMask);
}

/** Delivers what is pending: an NMI before an event. @returns true if something was delivered. */
export function deliverPending(pv: PvDomain, v: PvVcpu): boolean {
  let delivered = false;
  if (v.state.nmiPending && !v.state.nmiBlocked && v.state.nmi.address !== 0n) {
    v.state.nmiPending = false;
    v.state.nmiBlocked = true;
    const { address, selector } = v.state.nmi;
    publish(v);
    bounce(pv, v, { what: 'NMI', address, selector, maskEvents: true });
    delivered = true;
  }
  if (v.vcpu.upcallPending && !v.vcpu.upcallMask) {
    const { address, selector } = v.state.event;
    bounce(pv, v, { what: 'event', address, selector, maskEvents: true });
    delivered = true;
  }
  return delivered;
}
