/**
 * The frames of 32-bit PV guests (public/arch-x86/xen-x86_32.h, Xen's arch/x86/pv/iret.c): what a bounce pushes, and what
 * HYPERVISOR_iret takes. They are the processor's own but for evtchn_upcall_mask in bits 16-23 of CS.
 *
 *   high   [SS, ESP of ring 2 or 3], EFLAGS, CS, EIP, [error code], [GS, FS, ES, DS of a failsafe callback]   low
 */
import type { Segment, SegmentName } from '../../paravirt/processor.ts';
import { DESCRIPTOR_DPL, DESCRIPTOR_DPL_SHIFT } from '../../x86/descriptors.ts';
import { SELECTOR_RPL } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import {
  BOUNCE_CLEARS,
  type Bounce,
  failsafe,
  RFLAGS_FIXED,
  RFLAGS_IF,
  RFLAGS_LOADABLE,
  RFLAGS_VM,
  restoreIopl,
  visibleFlags,
} from './bounce.ts';
import { loadSegment } from './descriptors.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

const DATA_SEGMENTS: readonly SegmentName[] = ['ds', 'es', 'fs', 'gs'];
const LOW = 0xffffffffn;

/** The longest frame is the failsafe one. */
const frame = new Uint32Array(9);

/** True for the rings whose code does not push on the stack of the kernel: 2 and 3 (Xen tests that bit). */
const isOuter = (selector: number) => (selector & 2) !== 0;

/** Pushes the frame of `bounce` and continues at its address. Kills the domain if that is impossible. */
export function bounce32(pv: PvDomain, v: PvVcpu, bounce: Bounce, rip: bigint): void {
  const { cpu, vcpu } = v;
  const rflags = cpu.get('flags');
  const esp = Number(BigInt.asUintN(32, cpu.get('rsp')));
  const cs = bounce.cs ?? cpu.segment('cs').selector;
  const ss = bounce.ss ?? cpu.segment('ss').selector;
  const masked = vcpu.upcallMask;
  const outer = isOuter(cs);
  const ring = bounce.selector & SELECTOR_RPL;

  let words = 0;
  if (bounce.failsafe) for (const name of DATA_SEGMENTS) frame[words++] = cpu.segment(name).selector;
  if (bounce.code !== undefined) frame[words++] = bounce.code;
  frame[words++] = Number(BigInt.asUintN(32, rip));
  frame[words++] = cs | (masked ? 1 << 16 : 0);
  frame[words++] = Number(visibleFlags(v, rflags, masked) & LOW);
  if (outer) {
    frame[words++] = esp;
    frame[words++] = ss;
  }

  const stack =
    outer || bounce.ss !== undefined ? loadSegment(pv, v, outer ? v.kernelSs : ss, 'stack', ring) : cpu.segment('ss');
  const top = ((outer ? Number(BigInt.asUintN(32, v.kernelSp)) : esp) - 4 * words) >>> 0;
  const linear = stack && BigInt.asUintN(32, stack.base + BigInt(top));
  if (linear === undefined || !pv.copy.writeWords(v.kernelRoot, linear, frame, words)) {
    cpu.kill(`${bounce.what}: the guest's kernel stack at 0x${top.toString(16)} cannot be written`);
    return;
  }
  const { kernelCode } = pv.abi;
  const code = bounce.selector === kernelCode.selector ? kernelCode : loadSegment(pv, v, bounce.selector, 'code', ring);
  if (!code) {
    cpu.kill(`${bounce.what}: handler at ${bounce.selector.toString(16)}:0x${bounce.address.toString(16)}`);
    return;
  }
  if (bounce.maskEvents) vcpu.upcallMask = true;
  cpu.setSegment('cs', code);
  if (stack) cpu.setSegment('ss', stack);
  cpu.set('rsp', BigInt(top));
  cpu.set('rip', bounce.address);
  cpu.set('flags', (rflags & ~(BOUNCE_CLEARS | (bounce.clear ?? 0n))) | RFLAGS_IF | RFLAGS_FIXED);
}

/** HYPERVISOR_iret: ESP points at eax, eip, cs, eflags and, for rings 2 and 3, esp, ss. */
export function iret32(pv: PvDomain, v: PvVcpu): void {
  const { cpu } = v;
  const esp = Number(BigInt.asUintN(32, cpu.get('rsp')));
  // Xen reads the frame without a thought of SS, word by word: only as much of it has to be there as counts.
  const words = new Uint32Array(6);
  const read = (count: number) => pv.copy.readWords(v.kernelRoot, BigInt(esp), words, count);
  const lost = () => cpu.kill(`iret: its frame at 0x${esp.toString(16)} cannot be read`);
  if (!read(4)) return lost();
  const [eax, eip, , eflags] = words as unknown as [number, number, number, number];
  const cs = words[2]! & 0xffff;
  const flags = BigInt(eflags);
  const restored = (flags & RFLAGS_LOADABLE & ~RFLAGS_VM) | RFLAGS_IF | RFLAGS_FIXED;
  if (flags & RFLAGS_VM) return iretToVirtual8086(pv, v, esp, eflags);
  const ring = cs & SELECTOR_RPL;
  if (ring === 0) return cpu.kill(`iret to ring 0 (CS 0x${cs.toString(16)})`);
  const outer = isOuter(cs);
  if (outer && !read(6)) return lost();
  restoreIopl(v, flags);
  const ss = outer ? words[5]! & 0xffff : cpu.segment('ss').selector;
  cpu.set('rax', BigInt(eax));
  cpu.set('rsp', BigInt(outer ? words[4]! : (esp + 16) >>> 0));
  cpu.set('flags', restored);
  v.vcpu.upcallMask = (flags & RFLAGS_IF) === 0n;
  v.state.nmiBlocked = false;
  if (loadReturnSegments(pv, v, cs, ss)) cpu.set('rip', BigInt(eip));
  else failsafe(pv, v, BigInt(eip), cs, ss);
}

/**
 * Virtual-8086 mode is not to be had: the guest gets a #GP as if at the first instruction there, with the frame as it
 * stands, copied to its kernel's stack.
 */
function iretToVirtual8086(pv: PvDomain, v: PvVcpu, esp: number, eflags: number): void {
  const { cpu, state } = v;
  // eip, cs, eflags, esp, ss, es, ds, fs, gs; below them an error code of 0, where eax was.
  const words = new Uint32Array(10);
  const top = (Number(BigInt.asUintN(32, v.kernelSp)) - 4 * words.length) >>> 0;
  const read = pv.copy.readWords(v.kernelRoot, BigInt(esp), words);
  words[0] = 0;
  const selector = state.traps.selector[vectors.GP]!;
  const ring = selector & SELECTOR_RPL;
  const code = loadSegment(pv, v, selector, 'code', ring);
  const stack = loadSegment(pv, v, v.kernelSs, 'stack', ring);
  if (!read || !pv.copy.writeWords(v.kernelRoot, BigInt(top), words) || !code || !stack) {
    cpu.kill('iret to virtual-8086 mode, without a way to tell the guest that there is none');
    return;
  }
  restoreIopl(v, BigInt(eflags));
  const masks = (state.traps.flags[vectors.GP]! & 4) !== 0;
  v.vcpu.upcallMask = masks || (BigInt(eflags) & RFLAGS_IF) === 0n;
  cpu.setSegment('cs', code);
  cpu.setSegment('ss', stack);
  cpu.set('rsp', BigInt(top));
  cpu.set('flags', (BigInt(eflags) & RFLAGS_LOADABLE & ~BOUNCE_CLEARS) | RFLAGS_IF | RFLAGS_FIXED);
  cpu.set('rip', state.traps.address[vectors.GP]!);
}

/** Loads CS and SS of a context that is returned to, as IRET does; false if the processor would refuse. */
function loadReturnSegments(pv: PvDomain, v: PvVcpu, code: number, stack: number): boolean {
  const { cpu } = v;
  const ring = code & SELECTOR_RPL;
  const before = cpu.cpl;
  const cs = loadSegment(pv, v, code, 'code', ring);
  const ss = loadSegment(pv, v, stack, 'stack', ring);
  if (!cs || !ss) return false;
  cpu.setSegment('cs', cs);
  cpu.setSegment('ss', ss);
  if (ring > before)
    for (const name of DATA_SEGMENTS) if (!mayKeep(cpu.segment(name), ring)) cpu.setSegment(name, none);
  return true;
}

const none: Segment = { selector: 0, base: 0n, limit: 0, attributes: 0 };
/** Code that is conforming, by the type in a segment's attributes. */
const CONFORMING_CODE = 0xc00;

/** A return to an outer ring takes away what that ring could not have loaded (SDM 2A, IRET). */
function mayKeep({ selector, attributes }: Segment, ring: number): boolean {
  if (selector >>> 2 === 0) return true;
  if ((attributes & CONFORMING_CODE) === CONFORMING_CODE) return true;
  return (attributes & DESCRIPTOR_DPL) >>> DESCRIPTOR_DPL_SHIFT >= ring;
}
