/**
 * Bounces: how exceptions, events and system calls reach the guest's kernel. Xen pushes a frame of its own making on
 * the kernel's stack and continues at the registered address. What the frame looks like depends on the width of the
 * guest (frames64.ts, frames32.ts); what is common stands here.
 */
import * as flags from '../../x86/flags.ts';
import { VMASST_TYPE_architectural_iopl } from '../xen/constants.ts';
import { publish } from './cells.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** RFLAGS bits as the register holds them. */
export const RFLAGS_FIXED = BigInt(flags.FLAGS_FIXED);
export const RFLAGS_IF = BigInt(flags.IF);
export const RFLAGS_TF = BigInt(flags.TF);
export const RFLAGS_DF = BigInt(flags.DF);
export const RFLAGS_IOPL = BigInt(flags.IOPL);
export const RFLAGS_RF = BigInt(flags.RF);
export const RFLAGS_VM = BigInt(flags.VM);
const IOPL_SHIFT = BigInt(flags.IOPL_SHIFT);
/** What every bounce clears. IF stays on: the mask in vcpu_info is the guest's interrupt flag. */
export const BOUNCE_CLEARS = BigInt(flags.VM | flags.RF | flags.NT | flags.TF);
export const RFLAGS_AC = BigInt(flags.AC);
/** RFLAGS bits that exist: all that an iret may load. */
export const RFLAGS_LOADABLE = 0x3f7fd7n & ~RFLAGS_IOPL;

export interface Bounce {
  /** What is bounced, for the message when it cannot be. */
  what: string;
  /** Where to. */
  address: bigint;
  /** The code segment there; used in 32-bit guests only. */
  selector: number;
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

/** Bounces `v` and continues it at `bounce.address`. Kills the domain if that is impossible. */
export function bounce(pv: PvDomain, v: PvVcpu, bounce: Bounce): void {
  const { cpu } = v;
  const rip = bounce.rip ?? cpu.get('rip');
  if (!pv.abi.isRegistered(bounce.selector, bounce.address)) {
    const where = `rip 0x${rip.toString(16)} in ${v.kernelMode ? 'kernel' : 'user'} mode`;
    cpu.kill(`${bounce.what} at ${where}, for which the guest has registered no handler`);
    return;
  }
  pv.abi.bounce(pv, v, bounce, rip);
}

/** RFLAGS as a frame shows them: IF is what the upcall mask says, IOPL what the guest asked for if it asked to see it. */
export function visibleFlags(v: PvVcpu, rflags: bigint, masked: boolean): bigint {
  const iopl = v.vcpu.domain.state.assists.has(VMASST_TYPE_architectural_iopl) ? BigInt(v.vcpu.state.iopl) : 0n;
  return (rflags & ~(RFLAGS_IF | RFLAGS_IOPL)) | (masked ? 0n : RFLAGS_IF) | (iopl << IOPL_SHIFT);
}

/** With VMASST_TYPE_architectural_iopl, HYPERVISOR_iret loads the I/O privilege level from its frame. */
export function restoreIopl(v: PvVcpu, rflags: bigint): void {
  if (!v.vcpu.domain.state.assists.has(VMASST_TYPE_architectural_iopl)) return;
  v.vcpu.state.iopl = Number((rflags & RFLAGS_IOPL) >> IOPL_SHIFT);
  publish(v);
}

/** The context that was to be returned to cannot be: the guest's failsafe handler is told. */
export function failsafe(pv: PvDomain, v: PvVcpu, rip: bigint, cs: number, ss: number): void {
  const { address, selector, maskEvents } = v.state.failsafe;
  bounce(pv, v, { what: 'failsafe callback', address, selector, maskEvents, failsafe: true, rip, cs, ss });
}
