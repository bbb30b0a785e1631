/**
 * Exceptions, events and system calls of a PV guest: to which of the guest's entry points they go, and the way back
 * from there (HYPERVISOR_iret).
 */

import type { Exception } from '../../paravirt/processor.ts';
import { CR0_TS } from '../../x86/control.ts';
import { SELECTOR_RPL } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { VCPU_INFO_CR2 } from '../xen/shared-info.ts';
import { bounce, RFLAGS_DF, RFLAGS_FIXED, RFLAGS_IF, RFLAGS_IOPL, RFLAGS_VM } from './bounce.ts';
import { FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS } from './descriptor-check.ts';
import { loadSegment } from './descriptors.ts';
import { isCanonical } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import { type Callback, flatCode64, flatStack, type PvVcpu } from './pv-vcpu.ts';

/** Trap table flags: bit 2. */
const TI_MASK_EVENTS = 4;
const TI_DPL = 3;

/** RFLAGS bits that exist: all that an iret may load. */
const RFLAGS_LOADABLE = 0x3f7fd7n & ~(RFLAGS_IOPL | RFLAGS_VM);
/** In the flags word of HYPERVISOR_iret's frame: RCX and R11 are not to be restored. */
const VGCF_in_syscall = 0x100n;

/** An exception of the guest's goes to its trap table. RIP stands where the frame shall show it. */
export function exceptionToGuest(pv: PvDomain, v: PvVcpu, exception: Exception): void {
  const { vector } = exception;
  let code = vectors.hasErrorCode(vector) ? (exception.code ?? 0) : undefined;
  if (vector === vectors.PF) {
    const address = exception.address ?? 0n;
    v.cpu.set('cr2', address);
    v.vcpu.domain.memory.write64(v.vcpu.info + VCPU_INFO_CR2, address);
    // The processor saw CPL 3 in both modes.
    code = v.state.kernelMode ? code! & ~vectors.PAGE_FAULT_US : code! | vectors.PAGE_FAULT_US;
  }
  // A guest that switches floating point lazily finds it switched on again in its handler.
  if (vector === vectors.NM) v.cpu.set('cr0', v.cpu.get('cr0') & ~BigInt(CR0_TS));
  trap(pv, v, vector, code);
}

function trap(pv: PvDomain, v: PvVcpu, vector: number, code: number | undefined): void {
  bounce(pv, v, {
    what: `exception ${vector}${code === undefined ? '' : ` (error code 0x${code.toString(16)})`}`,
    address: v.state.traps.address[vector],
    maskEvents: (v.state.traps.flags[vector] & TI_MASK_EVENTS) !== 0,
    code,
  });
}

/** INT n, INT3 and INTO. */
export function softwareInterruptToGuest(pv: PvDomain, v: PvVcpu, vector: number, next: bigint): void {
  // INT3 and INTO are exceptions to Xen, which does not check the privilege to raise them.
  const isTrap = vector === vectors.BP || vector === vectors.OF;
  const allowed = v.state.traps.flags[vector] & TI_DPL;
  if (!isTrap && (v.state.traps.address[vector] === 0n || allowed < (v.state.kernelMode ? 1 : 3))) {
    exceptionToGuest(pv, v, { vector: vectors.GP, code: vector * 8 + vectors.ERROR_IDT });
    return;
  }
  v.cpu.set('rip', next);
  trap(pv, v, vector, undefined);
}

/** SYSCALL in user mode. RIP is past it; RCX and R11 hold what it put there. */
export function syscallToGuest(pv: PvDomain, v: PvVcpu): void {
  const wide = v.cpu.mode === 64;
  const callback: Callback = wide ? v.state.syscall64 : v.state.syscall32;
  if (callback.address === 0n) {
    // As if the instruction did not exist.
    v.cpu.set('rip', v.cpu.get('rip') - 2n);
    exceptionToGuest(pv, v, { vector: vectors.UD });
    return;
  }
  bounce(pv, v, {
    what: 'system call',
    address: callback.address,
    maskEvents: callback.maskEvents,
    cs: wide ? FLAT_RING3_CS64 : FLAT_RING3_CS32,
    ss: FLAT_RING3_SS,
    clear: RFLAGS_DF,
  });
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
    bounce(pv, v, { what: 'NMI', address: v.state.nmi.address, maskEvents: true });
    delivered = true;
  }
  if (v.vcpu.upcallPending && !v.vcpu.upcallMask) {
    bounce(pv, v, { what: 'event', address: v.state.event.address, maskEvents: true });
    delivered = true;
  }
  return delivered;
}

const iretFrame = new BigUint64Array(9);
const iretWords = new Uint32Array(iretFrame.buffer);

/** HYPERVISOR_iret: RSP points at rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
export function iret(pv: PvDomain, v: PvVcpu): void {
  const { cpu } = v;
  const stack = cpu.get('rsp');
  if (!pv.copy.readWords(v.state.kernelRoot, stack, iretWords)) {
    cpu.kill(`iret: its frame at 0x${stack.toString(16)} cannot be read`);
    return;
  }
  const rip = iretFrame[4];
  const cs = iretFrame[5];
  const rflags = iretFrame[6];
  if ((cs & 3n) === 3n) {
    if (v.state.userRoot === 0) {
      cpu.kill('iret to user mode without page tables for it');
      return;
    }
    v.toggleMode();
  }
  const inSyscall = (iretFrame[3] & VGCF_in_syscall) !== 0n;
  const restored = (rflags & RFLAGS_LOADABLE) | RFLAGS_IF | RFLAGS_FIXED;
  cpu.set('rsp', iretFrame[7]);
  cpu.set('flags', restored);
  cpu.set('rax', iretFrame[0]);
  cpu.set('rcx', inSyscall ? rip : iretFrame[2]);
  cpu.set('r11', inSyscall ? restored : iretFrame[1]);
  v.vcpu.upcallMask = (rflags & RFLAGS_IF) === 0n;
  v.state.nmiBlocked = false;
  const code = Number(cs & 0xffffn) | SELECTOR_RPL;
  const stackSegment = Number(iretFrame[8] & 0xffffn) | SELECTOR_RPL;
  const loaded = loadReturnSegments(pv, v, code, stackSegment);
  if (loaded && isCanonical(rip)) cpu.set('rip', rip);
  else failsafe(pv, v, rip, code, stackSegment);
}

/** Loads CS and SS of a context that is returned to; false if the processor would refuse. */
function loadReturnSegments(pv: PvDomain, v: PvVcpu, code: number, stack: number): boolean {
  const cs = code === FLAT_RING3_CS64 ? flatCode64 : loadSegment(pv, v, code, 'code');
  const ss = stack === FLAT_RING3_SS ? flatStack : loadSegment(pv, v, stack, 'stack');
  // 64-bit code of CPL 3 needs no stack segment, but IRET loads a null SS only below CPL 3 (SDM 2A, IRET).
  if (!cs || !ss) return false;
  v.cpu.setSegment('cs', cs);
  v.cpu.setSegment('ss', ss);
  return true;
}

/** The context that was to be returned to cannot be: the guest's failsafe handler is told. */
function failsafe(pv: PvDomain, v: PvVcpu, rip: bigint, cs: number, ss: number): void {
  bounce(pv, v, {
    what: 'failsafe callback',
    address: v.state.failsafe.address,
    maskEvents: v.state.failsafe.maskEvents,
    failsafe: true,
    rip,
    cs,
    ss,
  });
}
