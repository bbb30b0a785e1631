/**
 * The frames of 64-bit PV guests (public/arch-x86/xen-x86_64.h): what a bounce pushes, and what HYPERVISOR_iret takes.
 *
 *   high   SS, RSP, RFLAGS, CS with evtchn_upcall_mask in bits 32-39, RIP, [error code], R11, RCX   low
 */
import { SELECTOR_RPL } from '../../x86/segments.ts';
import {
  BOUNCE_CLEARS,
  type Bounce,
  failsafe,
  RFLAGS_AC,
  RFLAGS_FIXED,
  RFLAGS_IF,
  RFLAGS_LOADABLE,
  RFLAGS_VM,
  restoreIopl,
  visibleFlags,
} from './bounce.ts';
import { publish } from './cells.ts';
import { loadSegment } from './descriptors.ts';
import { isCanonical } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

const CLEARED = BOUNCE_CLEARS | RFLAGS_AC;
/** In the flags word of HYPERVISOR_iret's frame: RCX and R11 are not to be restored. */
export const VGCF_in_syscall = 0x100n;

/** The longest frame is the failsafe one. */
const frame = new BigUint64Array(11);
const frameWords = new Uint32Array(frame.buffer);

/** Pushes the frame of `bounce` and continues at its address. Kills the domain if that is impossible. */
export function bounce64(pv: PvDomain, v: PvVcpu, bounce: Bounce, rip: bigint): void {
  const { cpu, vcpu } = v;
  const { kernelCode, kernelStack } = pv.abi;
  const { kernelMode } = v;
  const rflags = cpu.get('flags');
  const rsp = cpu.get('rsp');
  const cs = bounce.cs ?? cpu.segment('cs').selector;
  const ss = bounce.ss ?? cpu.segment('ss').selector;
  const masked = vcpu.upcallMask;

  let words = 0;
  frame[words++] = cpu.get('rcx');
  frame[words++] = cpu.get('r11');
  if (bounce.failsafe)
    for (const name of ['ds', 'es', 'fs', 'gs'] as const) frame[words++] = BigInt(cpu.segment(name).selector);
  if (bounce.code !== undefined) frame[words++] = BigInt(bounce.code >>> 0);
  frame[words++] = rip;
  // The guest tells the two modes apart by the privilege level it finds here.
  frame[words++] = BigInt(kernelMode ? cs & ~SELECTOR_RPL : cs) | (masked ? 1n << 32n : 0n);
  frame[words++] = visibleFlags(v, rflags, masked);
  frame[words++] = rsp;
  frame[words++] = BigInt(ss);

  const stack = (kernelMode ? rsp : v.kernelSp) & ~15n;
  const top = BigInt.asUintN(64, stack - BigInt(8 * words));
  if (!kernelMode) v.toggleMode();
  if (!pv.abi.isGuestAddress(top) || !pv.copy.writeWords(v.kernelRoot, top, frameWords, 2 * words)) {
    cpu.kill(`${bounce.what}: the guest's kernel stack at 0x${top.toString(16)} cannot be written`);
    return;
  }
  if (!isCanonical(bounce.address)) {
    cpu.kill(`${bounce.what}: handler at 0x${bounce.address.toString(16)}`);
    return;
  }

  if (bounce.maskEvents) vcpu.upcallMask = true;
  // The code segment first: what RIP may hold depends on it.
  if (bounce.cs !== undefined || cs !== kernelCode.selector) cpu.setSegment('cs', kernelCode);
  if (bounce.ss !== undefined || ss !== kernelStack.selector) cpu.setSegment('ss', kernelStack);
  cpu.set('rsp', top);
  cpu.set('rip', bounce.address);
  cpu.set('flags', (rflags & ~(CLEARED | (bounce.clear ?? 0n))) | RFLAGS_IF | RFLAGS_FIXED);
}

const iretFrame = new BigUint64Array(9);
const iretWords = new Uint32Array(iretFrame.buffer);

/** HYPERVISOR_iret: RSP points at rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
export function iret64(pv: PvDomain, v: PvVcpu): void {
  const { cpu } = v;
  const stack = cpu.get('rsp');
  if (!pv.copy.readWords(v.kernelRoot, stack, iretWords)) {
    cpu.kill(`iret: its frame at 0x${stack.toString(16)} cannot be read`);
    return;
  }
  const rip = iretFrame[4];
  const cs = iretFrame[5];
  const rflags = iretFrame[6];
  if ((cs & 3n) === 3n) {
    if (v.userRoot === 0) {
      cpu.kill('iret to user mode without page tables for it');
      return;
    }
    v.toggleMode();
  }
  const inSyscall = (iretFrame[3] & VGCF_in_syscall) !== 0n;
  const restored = (rflags & RFLAGS_LOADABLE & ~RFLAGS_VM) | RFLAGS_IF | RFLAGS_FIXED;
  restoreIopl(v, rflags);
  cpu.set('rsp', iretFrame[7]);
  cpu.set('flags', restored);
  cpu.set('rax', iretFrame[0]);
  cpu.set('rcx', inSyscall ? rip : iretFrame[2]);
  cpu.set('r11', inSyscall ? restored : iretFrame[1]);
  v.vcpu.upcallMask = (rflags & RFLAGS_IF) === 0n;
  if (v.state.nmiBlocked) {
    v.state.nmiBlocked = false;
    publish(v);
  }
  const code = Number(cs & 0xffffn) | SELECTOR_RPL;
  const stackSegment = Number(iretFrame[8] & 0xffffn) | SELECTOR_RPL;
  const loaded = loadReturnSegments(pv, v, code, stackSegment);
  if (loaded && isCanonical(rip)) cpu.set('rip', rip);
  else failsafe(pv, v, rip, code, stackSegment);
}

/** Loads CS and SS of a context that is returned to; false if the processor would refuse. */
function loadReturnSegments(pv: PvDomain, v: PvVcpu, code: number, stack: number): boolean {
  const { kernelCode, kernelStack } = pv.abi;
  const cs = code === kernelCode.selector ? kernelCode : loadSegment(pv, v, code, 'code');
  const ss = stack === kernelStack.selector ? kernelStack : loadSegment(pv, v, stack, 'stack');
  // 64-bit code of CPL 3 needs no stack segment, but IRET loads a null SS only below CPL 3 (SDM 2A, IRET).
  if (!cs || !ss) return false;
  v.cpu.setSegment('cs', cs);
  v.cpu.setSegment('ss', ss);
  return true;
}
