/**
 * Bounces: how exceptions, events and system calls reach the guest's kernel. Xen pushes a frame of its own making on
 * the kernel's stack and continues at the registered address, at CPL 3 like everything else
 * (public/arch-x86/xen-x86_64.h).
 *
 *   high   SS, RSP, RFLAGS, CS with evtchn_upcall_mask in bits 32-39, RIP, [error code], R11, RCX   low
 */
import * as flags from '../../x86/flags.ts';
import { SELECTOR_RPL } from '../../x86/segments.ts';
import { VMASST_TYPE_architectural_iopl } from '../xen/constants.ts';
import { isCanonical, isGuestAddress } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import { flatCode64, flatStack, type PvVcpu } from './pv-vcpu.ts';

/** RFLAGS bits as the register holds them. */
export const RFLAGS_FIXED = BigInt(flags.FLAGS_FIXED);
export const RFLAGS_IF = BigInt(flags.IF);
export const RFLAGS_DF = BigInt(flags.DF);
export const RFLAGS_IOPL = BigInt(flags.IOPL);
export const RFLAGS_RF = BigInt(flags.RF);
export const RFLAGS_VM = BigInt(flags.VM);
const IOPL_SHIFT = BigInt(flags.IOPL_SHIFT);
/** What every bounce clears. IF stays on: the mask in vcpu_info is the guest's interrupt flag. */
const CLEARED = BigInt(flags.AC | flags.VM | flags.RF | flags.NT | flags.TF);

export interface Bounce {
  /** What is bounced, for the message when it cannot be. */
  what: string;
  /** Where to. */
  address: bigint;
  maskEvents: boolean;
  /** Error code, where the frame has one. */
  code?: number;
  /** The failsafe frame: data segments between RCX/R11 and RIP. */
  failsafe?: boolean;
  /** The interrupted context where it is not what the registers say. */
  rip?: bigint;
  cs?: number;
  ss?: number;
  /** RFLAGS bits to clear besides those that are always. */
  clear?: bigint;
}

/** The longest frame is the failsafe one. */
const frame = new BigUint64Array(11);
const frameWords = new Uint32Array(frame.buffer);

/** Interrupts `v` and continues it at `bounce.address`. Kills the domain if that is impossible. */
export function bounce(pv: PvDomain, v: PvVcpu, bounce: Bounce): void {
  const { cpu, vcpu } = v;
  const rip = bounce.rip ?? cpu.get('rip');
  if (bounce.address === 0n) {
    const where = `rip 0x${rip.toString(16)} in ${v.state.kernelMode ? 'kernel' : 'user'} mode`;
    cpu.kill(`${bounce.what} at ${where}, for which the guest has registered no handler`);
    return;
  }
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
  frame[words++] = BigInt(v.state.kernelMode ? cs & ~SELECTOR_RPL : cs) | (masked ? 1n << 32n : 0n);
  frame[words++] = (rflags & ~(RFLAGS_IF | RFLAGS_IOPL)) | (masked ? 0n : RFLAGS_IF) | (visibleIopl(v) << IOPL_SHIFT);
  frame[words++] = rsp;
  frame[words++] = BigInt(ss);

  const stack = (v.state.kernelMode ? rsp : v.state.kernelSp) & ~15n;
  const top = BigInt.asUintN(64, stack - BigInt(8 * words));
  if (!v.state.kernelMode) v.toggleMode();
  if (!isGuestAddress(top) || !pv.copy.writeWords(v.state.kernelRoot, top, frameWords, 2 * words)) {
    cpu.kill(`${bounce.what}: the guest's kernel stack at 0x${top.toString(16)} cannot be written`);
    return;
  }
  if (!isCanonical(bounce.address)) {
    cpu.kill(`${bounce.what}: handler at 0x${bounce.address.toString(16)}`);
    return;
  }

  if (bounce.maskEvents) vcpu.upcallMask = true;
  // The code segment first: what RIP may hold depends on it.
  if (bounce.cs !== undefined || cs !== flatCode64.selector) cpu.setSegment('cs', flatCode64);
  if (bounce.ss !== undefined || ss !== flatStack.selector) cpu.setSegment('ss', flatStack);
  cpu.set('rsp', top);
  cpu.set('rip', bounce.address);
  cpu.set('flags', (rflags & ~(CLEARED | (bounce.clear ?? 0n))) | RFLAGS_IF | RFLAGS_FIXED);
}

/** The I/O privilege level as frames show it: only to a guest that asked for it. */
function visibleIopl(v: PvVcpu): bigint {
  return v.vcpu.domain.state.assists.has(VMASST_TYPE_architectural_iopl) ? BigInt(v.vcpu.state.iopl) : 0n;
}
