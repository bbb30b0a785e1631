/**
 * The ordinary cases of what a 64-bit guest asks all the time, in WebAssembly: system calls and page faults that are bounced to its
 * kernel, its irets, the hypercalls of a context switch that change nothing but a register or a cell, and the instructions of one that
 * are emulated. What each does is said by the functions that it stands for: `bounce64` and `iret64` (frames64.ts), `exceptionToGuest`
 * (traps.ts), cpu-hypercalls.ts, `emulatePrivileged` (emulate.ts).
 */
import type { FastPaths, PathCode, PathException, PathSegment, PathSpace } from '../../paravirt/fast-paths.ts';
import type { Value, Variable } from '../../wasm/code.ts';
import {
  DESCRIPTOR_ATTRIBUTES,
  DESCRIPTOR_CODE,
  DESCRIPTOR_CONFORMING,
  DESCRIPTOR_DB,
  DESCRIPTOR_DPL,
  DESCRIPTOR_G,
  DESCRIPTOR_L,
  DESCRIPTOR_P,
  DESCRIPTOR_S,
  DESCRIPTOR_WRITABLE,
} from '../../x86/descriptors.ts';
import { RF, TF } from '../../x86/flags.ts';
import { IA32_KERNEL_GS_BASE } from '../../x86/msrs.ts';
import { SELECTOR_RPL, SELECTOR_TI } from '../../x86/segments.ts';
import {
  GP,
  PAGE_FAULT_ID,
  PAGE_FAULT_P,
  PAGE_FAULT_RSVD,
  PAGE_FAULT_US,
  PAGE_FAULT_WR,
  PF,
} from '../../x86/vectors.ts';
import {
  __HYPERVISOR_iret,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_set_segment_base,
  __HYPERVISOR_stack_switch,
  __HYPERVISOR_update_va_mapping,
} from '../xen/constants.ts';
import { layout64 } from '../xen/shared-info.ts';
import { abi64, FLAT_RING3_CS64, FLAT_RING3_SS32 } from './abi64.ts';
import {
  BOUNCE_CLEARS,
  RFLAGS_AC,
  RFLAGS_DF,
  RFLAGS_FIXED,
  RFLAGS_IF,
  RFLAGS_IOPL,
  RFLAGS_LOADABLE,
  RFLAGS_VM,
} from './bounce.ts';
import * as cells from './cells.ts';
import { SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL } from './cpu-hypercalls.ts';
import { newRoots, rootOf } from './fast-roots.ts';
import {
  clearEntry,
  listOf,
  mmuUpdate,
  refuseUnlessCanonical,
  refuseUnlessGuests,
  updateVaMapping,
} from './fast-updates.ts';
import { VGCF_in_syscall } from './frames64.ts';
import {
  MMUEXT_INVLPG_ALL,
  MMUEXT_INVLPG_LOCAL,
  MMUEXT_TLB_FLUSH_ALL,
  MMUEXT_TLB_FLUSH_LOCAL,
} from './mmu-hypercalls.ts';

/** evtchn_upcall_pending and evtchn_upcall_mask in struct vcpu_info. */
const PENDING = 0;
const MASK = 1;
/** What a frame of a bounce has besides an error code, in words. */
const FRAME_WORDS = 7;
const IRET_WORDS = 9;

export const fastPaths: FastPaths = {
  syscall(path, next) {
    const { code } = path;
    path.refuseIf(code.no(path.cell(cells.READY)));
    code.when(
      path.cell(cells.IN_KERNEL),
      () => hypercall(path, next),
      () => systemCall(path, next),
    );
  },
  exception,
};

const infoOf = (path: PathCode): Value => path.physical(path.cell(cells.INFO));

/** The flat segments in which a guest's kernel runs. */
function loadKernelSegments(path: PathCode): void {
  const { code } = path;
  const flat = ({ selector, base, limit, attributes }: typeof abi64.kernelCode): PathSegment => ({
    selector: code.i32(selector),
    base: code.const(base),
    limit: code.i32(limit),
    attributes: code.i32(attributes),
  });
  path.setSegment('cs', flat(abi64.kernelCode));
  path.setSegment('ss', flat(abi64.kernelStack));
}

/** From kernel to user mode or back. */
function toggleMode(path: PathCode, space: PathSpace): void {
  const { code } = path;
  const active = path.get('gsBase');
  path.set('gsBase', path.get('kernelGsBase'));
  path.set('kernelGsBase', active);
  path.setCell(cells.IN_KERNEL, code.xor(path.cell(cells.IN_KERNEL), 1));
  path.switchTo(space);
}

/** What a bounce pushes, i64; selectors i32. */
interface Context {
  rcx: Value;
  r11: Value;
  rip: Value;
  flags: Value;
  cs: Value;
  ss: Value;
  /** i32. */
  error?: Value;
  /** Cells of the handler. */
  address: number;
  masks: number;
  /** RFLAGS bits to clear besides those that are always. */
  clear: bigint;
}

/** A frame below `sp`: its linear address, and where it is. Refuses what cannot be written. */
interface Frame {
  top: Value;
  at: Value;
}
function frameBelow(path: PathCode, context: Context, sp: Value, space?: PathSpace): Frame {
  const { code } = path;
  const bytes = 8 * (FRAME_WORDS + (context.error ? 1 : 0));
  const top = code.variable(code.sub(code.and(sp, -16n), bytes)).last();
  refuseUnlessGuests(path, top);
  return { top, at: path.reach(top, bytes, 'write', space) };
}

/** Writes the frame, where `info` is struct vcpu_info. */
function push(path: PathCode, context: Context, frame: Frame, info: Value): void {
  const { code } = path;
  const masked = code.ne(code.fetch('i32.load8_u', info, MASK), 0);
  const shown = code.or(
    code.and(context.flags, ~(RFLAGS_IF | RFLAGS_IOPL)),
    code.or(code.select(masked, 0n, RFLAGS_IF), code.wide(path.cell(cells.IOPL_BITS))),
  );
  const content = [
    context.rcx,
    context.r11,
    ...(context.error ? [code.wide(context.error)] : []),
    context.rip,
    code.or(code.wide(context.cs), code.shl(code.wide(masked), 32)),
    shown,
    path.get('rsp'),
    code.wide(context.ss),
  ];
  for (const [index, word] of content.entries()) code.put('i64.store', frame.at, word, 8 * index);
}

/** Continues at the handler, with the frame at `top`. */
function enter(path: PathCode, context: Context, top: Value, info: Value): void {
  const { code } = path;
  code.when(path.cell(context.masks), () => code.put('i32.store8', info, 1, MASK));
  loadKernelSegments(path);
  path.set('rsp', top);
  path.set('rip', path.cell64(context.address));
  const clear = BOUNCE_CLEARS | RFLAGS_AC | context.clear;
  path.set('flags', code.or(code.and(context.flags, ~clear), RFLAGS_IF | RFLAGS_FIXED));
}

/** What has no handler, or one that is no address, is for the op to say. */
function refuseUnlessRegistered(path: PathCode, { address }: Context): void {
  const handler = path.cell64(address);
  path.refuseIf(path.code.eqz(handler));
  refuseUnlessCanonical(path, handler);
}

/** @param first what happens first, when nothing refuses any more */
function bounceFromUser(path: PathCode, context: Context, info: Value, first?: () => void): void {
  refuseUnlessRegistered(path, context);
  const space = path.space(rootOf(path, path.cell(cells.KERNEL_ROOT)));
  const frame = frameBelow(path, context, path.cell64(cells.KERNEL_SP), space);
  first?.();
  push(path, context, frame, info);
  toggleMode(path, space);
  enter(path, context, frame.top, info);
}

function bounceFromKernel(path: PathCode, context: Context, info: Value, first: () => void): void {
  refuseUnlessRegistered(path, context);
  const frame = frameBelow(path, context, path.get('rsp'));
  first();
  push(path, context, frame, info);
  enter(path, context, frame.top, info);
}

/** SYSCALL of a program. */
function systemCall(path: PathCode, next: Value): void {
  const { code } = path;
  const flags = code.variable(path.get('flags')).last();
  const context: Context = {
    rcx: next,
    r11: flags,
    rip: next,
    flags,
    cs: code.i32(FLAT_RING3_CS64),
    ss: code.i32(FLAT_RING3_SS32),
    address: cells.SYSCALL_ADDRESS,
    masks: cells.SYSCALL_MASKS,
    clear: RFLAGS_DF,
  };
  bounceFromUser(path, context, infoOf(path));
  path.set('rcx', next);
  path.set('r11', flags);
  path.count('cpu.syscall');
}

function exception(path: PathCode, exception: PathException): void {
  const { code } = path;
  path.refuseIf(code.no(path.cell(cells.READY)));
  code.when(
    code.eq(exception.vector, GP),
    () => emulatePrivileged(path, exception),
    () => {
      path.refuseIf(code.ne(exception.vector, PF));
      pageFault(path, exception);
    },
  );
}

/** The instruction at RIP has been executed. */
function complete(path: PathCode): void {
  const { code } = path;
  path.set('flags', code.and(path.get('flags'), ~BigInt(RF)));
}

/** Bytes of the instructions that are emulated here, and these as i32. */
const EMULATED_LENGTH = 2;
const RDMSR = 0x320f;
const IN_AL_IMM8 = 0xe4;

/** Of what emulate.ts knows: RDMSR of the user's GS base, which Linux asks for at each switch of tasks, and IN from where nothing is. */
function emulatePrivileged(path: PathCode, { code: error }: PathException): void {
  const { code } = path;
  path.refuseIf(code.either(error, code.no(path.cell(cells.IN_KERNEL))));
  refuseIfEvent(path, infoOf(path));
  const rip = path.get('rip');
  const bytes = code.variable(code.fetch('i32.load16_u', path.reach(rip, EMULATED_LENGTH, 'execute'))).last();
  code.when(
    code.eq(bytes, RDMSR),
    () => {
      path.refuseIf(code.ne(code.narrow(path.get('rcx')), IA32_KERNEL_GS_BASE | 0));
      const base = path.get('kernelGsBase');
      path.set('rax', code.and(base, 0xffffffffn));
      path.set('rdx', code.shr(base, 32));
    },
    () => {
      path.refuseIf(code.ne(code.and(bytes, 0xff), IN_AL_IMM8));
      path.refuseIf(code.no(path.cell(cells.HAS_PORTS)));
      path.refuseIf(code.ne(code.add(code.shr(bytes, 8), 1), path.cell(cells.SILENT_PORT)));
      path.set('rax', code.or(path.get('rax'), 0xffn));
    },
  );
  path.set('rip', code.add(rip, BigInt(EMULATED_LENGTH)));
  complete(path);
  path.count('irq.exception');
}

function pageFault(path: PathCode, { code: error, address }: PathException): void {
  const { code } = path;
  // In Xen's area is the place of the guest's LDT.
  refuseUnlessGuests(path, address);
  const info = infoOf(path);
  refuseIfEvent(path, info);
  const context = (shown: Value, cs: Value): Context => ({
    rcx: path.get('rcx'),
    r11: path.get('r11'),
    rip: path.get('rip'),
    flags: code.variable(path.get('flags')).last(),
    cs,
    ss: path.selector('ss'),
    error: shown,
    address: cells.PAGE_FAULT_ADDRESS,
    masks: cells.PAGE_FAULT_MASKS,
    clear: 0n,
  });
  const cr2 = () => code.put('i64.store', info, address, layout64.cr2);
  code.when(
    path.cell(cells.IN_KERNEL),
    () => {
      const write = PAGE_FAULT_P | PAGE_FAULT_WR;
      code.when(code.eq(code.and(error, write | PAGE_FAULT_RSVD | PAGE_FAULT_ID), write), () => {
        clearEntry(path, address);
        complete(path);
        path.count('mmu.pageFault');
        path.dealtWith();
      });
      const cs = code.and(path.selector('cs'), ~SELECTOR_RPL);
      bounceFromKernel(path, context(code.and(error, ~PAGE_FAULT_US), cs), info, cr2);
    },
    () => bounceFromUser(path, context(code.or(error, PAGE_FAULT_US), path.selector('cs')), info, cr2),
  );
  path.count('mmu.pageFault');
  path.count('irq.exception');
}

/** An event that is due, or an NMI, comes next, and the op would deliver it. */
function refuseIfEvent(path: PathCode, info: Value): void {
  const { code } = path;
  const pending = code.ne(code.fetch('i32.load8_u', info, PENDING), 0);
  const open = code.no(code.fetch('i32.load8_u', info, MASK));
  path.refuseIf(code.either(path.cell(cells.NMI), code.both(pending, open)));
}

/** SYSCALL of the kernel. */
function hypercall(path: PathCode, next: Value): void {
  const { code } = path;
  const number = code.variable(code.narrow(path.get('rax'))).last();
  code.when(
    code.eq(number, __HYPERVISOR_iret),
    () => iret(path),
    () => {
      refuseIfEvent(path, infoOf(path));
      const calls: [number: number, call: () => void][] = [
        [__HYPERVISOR_stack_switch, () => stackSwitch(path)],
        [__HYPERVISOR_set_segment_base, () => setSegmentBase(path)],
        [__HYPERVISOR_mmuext_op, () => extended(path)],
        [__HYPERVISOR_mmu_update, () => mmuUpdate(path)],
        [__HYPERVISOR_update_va_mapping, () => updateVaMapping(path)],
      ];
      code.block(done => {
        for (const [known, call] of calls)
          code.when(code.eq(number, known), () => {
            call();
            path.count('cpu.syscall', known);
            done();
          });
        path.refuseIf(code.i32(1));
      });
      // Every one of them answers 0.
      const flags = path.get('flags');
      path.set('rcx', next);
      path.set('r11', flags);
      path.set('rax', code.const(0));
      loadKernelSegments(path);
      path.set('rip', next);
    },
  );
}

function stackSwitch(path: PathCode): void {
  const { code } = path;
  const selector = code.and(code.narrow(path.get('rdi')), 0xffff);
  path.setCell(cells.KERNEL_SS, code.or(selector, SELECTOR_RPL));
  path.setCell64(cells.KERNEL_SP, path.get('rsi'));
}

function setSegmentBase(path: PathCode): void {
  const { code } = path;
  const which = code.variable(code.narrow(path.get('rdi'))).last();
  const base = code.variable(path.get('rsi')).last();
  path.refuseIf(code.gtu(which, SEGBASE_GS_USER_SEL));
  code.when(
    code.eq(which, SEGBASE_GS_USER_SEL),
    () => {
      // Of selectors, the null one.
      path.refuseIf(code.ne(code.and(base, 0xffffn), 0n));
      const none = code.i32(0);
      const kernelBase = path.get('gsBase');
      path.setSegment('gs', { selector: none, base: kernelBase, limit: none, attributes: none });
      path.set('kernelGsBase', code.const(0));
    },
    () => refuseUnlessCanonical(path, base),
  );
  code.when(code.eq(which, SEGBASE_FS), () => path.set('fsBase', base));
  code.when(code.eq(which, SEGBASE_GS_USER), () => path.set('kernelGsBase', base));
  code.when(code.eq(which, SEGBASE_GS_KERNEL), () => path.set('gsBase', base));
}

/** HYPERVISOR_mmuext_op. */
function extended(path: PathCode): void {
  const { code } = path;
  code.when(
    code.eq(code.narrow(path.get('rsi')), 2),
    () => newRoots(path),
    () => flush(path),
  );
}

/** One operation of the caller's that flushes: what there was to flush is flushed already (tlb.ts). */
function flush(path: PathCode): void {
  const { code } = path;
  const command = code.fetch('i32.load', path.reach(listOf(path, 1), abi64.mmuextSize, 'read'));
  const flushes = [MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_INVLPG_LOCAL, MMUEXT_TLB_FLUSH_ALL, MMUEXT_INVLPG_ALL];
  const bits = flushes.reduce((sum, each) => sum | (1 << each), 0);
  path.refuseIf(code.either(code.gtu(command, 31), code.no(code.and(code.shr(code.i32(bits), command), 1))));
  path.refuseIf(path.cell(cells.LINEAR_ENTRIES));
}

/** HYPERVISOR_iret, to 64-bit code. */
function iret(path: PathCode): void {
  const { code } = path;
  path.refuseIf(path.cell(cells.NMI));
  const stack = path.get('rsp');
  refuseUnlessGuests(path, stack);
  const frame = path.reach(stack, 8 * IRET_WORDS, 'read');
  const [rax, r11, rcx, flags, rip, cs, rflags, rsp, ss] = Array.from({ length: IRET_WORDS }, (_, word) =>
    code.variable(code.fetch('i64.load', frame, 8 * word)).last(),
  ) as [Value, Value, Value, Value, Value, Value, Value, Value, Value];
  path.refuseIf(code.any(rflags, BigInt(TF)));
  refuseUnlessCanonical(path, rip);
  const otherIopl = code.ne(code.narrow(code.and(rflags, RFLAGS_IOPL)), path.cell(cells.IOPL_BITS));
  path.refuseIf(code.both(path.cell(cells.HAS_IOPL), otherIopl));
  const info = infoOf(path);
  const opens = code.any(rflags, RFLAGS_IF);
  const pending = code.ne(code.fetch('i32.load8_u', info, PENDING), 0);
  path.refuseIf(code.both(opens, pending));
  const target = returnSegment(path, 'cs', code.narrow(cs));
  const outer = returnSegment(path, 'ss', code.narrow(ss));

  code.when(code.eq(code.and(cs, 3n), 3n), () => {
    const root = path.cell(cells.USER_ROOT);
    path.refuseIf(code.no(root));
    toggleMode(path, path.space(rootOf(path, root)));
  });
  const restored = code.or(code.and(rflags, RFLAGS_LOADABLE & ~RFLAGS_VM), RFLAGS_IF | RFLAGS_FIXED);
  const inSyscall = code.any(flags, VGCF_in_syscall);
  path.set('rsp', rsp);
  path.set('flags', restored);
  path.set('rax', rax);
  path.set('rcx', code.select(inSyscall, rip, rcx));
  path.set('r11', code.select(inSyscall, restored, r11));
  code.put('i32.store8', info, code.no(opens), MASK);
  path.setSegment('cs', target);
  path.setSegment('ss', outer);
  path.set('rip', rip);
  path.count('cpu.syscall', __HYPERVISOR_iret);
}

/** What `loadSegment` (descriptors.ts) answers for 64-bit code of ring 3, or its stack, in the GDT's first page or flat. */
function returnSegment(path: PathCode, name: 'cs' | 'ss', given: Value): PathSegment {
  const { code } = path;
  const flat = name === 'cs' ? abi64.kernelCode : abi64.kernelStack;
  const selector = code.variable(code.or(code.and(given, 0xffff), SELECTOR_RPL)).last();
  const set = {
    base: code.variable(code.const(flat.base)),
    limit: code.variable(code.i32(flat.limit)),
    attributes: code.variable(code.i32(flat.attributes)),
  };
  code.when(code.ne(selector, name === 'cs' ? FLAT_RING3_CS64 : FLAT_RING3_SS32), () =>
    fromGdt(path, name, selector, set),
  );
  return { selector, base: set.base.last(), limit: set.limit.last(), attributes: set.attributes.last() };
}

function fromGdt(
  path: PathCode,
  name: 'cs' | 'ss',
  selector: Value,
  set: Record<'base' | 'limit' | 'attributes', Variable>,
): void {
  const { code } = path;
  const index = code.shr(selector, 3);
  path.refuseIf(code.either(code.no(index), code.any(selector, SELECTOR_TI)));
  path.refuseIf(code.geu(index, path.cell(cells.GDT_DESCRIPTORS)));
  const at = code.add(path.physical(path.cell(cells.GDT)), code.shl(index, 3));
  const low = code.fetch('i32.load', at, 0);
  const high = code.fetch('i32.load', at, 4);
  const mask = DESCRIPTOR_P | DESCRIPTOR_S | DESCRIPTOR_DPL | DESCRIPTOR_CODE;
  const wanted = DESCRIPTOR_P | DESCRIPTOR_S | DESCRIPTOR_DPL;
  const refuseUnless = (bits: number, value: number) => path.refuseIf(code.ne(code.and(high, bits), value));
  if (name === 'cs')
    refuseUnless(mask | DESCRIPTOR_CONFORMING | DESCRIPTOR_L | DESCRIPTOR_DB, wanted | DESCRIPTOR_CODE | DESCRIPTOR_L);
  else refuseUnless(mask | DESCRIPTOR_WRITABLE, wanted | DESCRIPTOR_WRITABLE);
  const raw = code.or(code.and(high, 0xf0000), code.and(low, 0xffff));
  const middle = code.shl(code.and(high, 0xff), 16);
  const base = code.or(code.or(code.and(high, 0xff000000 | 0), middle), code.shr(low, 16));
  set.base.set(code.wide(base));
  set.limit.set(code.select(code.and(high, DESCRIPTOR_G), code.or(code.shl(raw, 12), 0xfff), raw));
  set.attributes.set(code.and(high, DESCRIPTOR_ATTRIBUTES));
}
