/**
 * VCPUOP_initialise of a PV guest: another processor's first state, as struct vcpu_guest_context of 64-bit guests has it
 * (public/arch-x86/xen.h). All of it is checked before anything of it counts.
 */
import type { Segment, SegmentName } from '../../paravirt/processor.ts';
import { CR0_TS, DR6_FIXED, DR7_FIXED } from '../../x86/control.ts';
import { IOPL_SHIFT } from '../../x86/flags.ts';
import { SELECTOR_RPL } from '../../x86/segments.ts';
import { EFAULT, EINVAL, EOPNOTSUPP } from '../xen/constants.ts';
import type { Vcpu } from '../xen/domain.ts';
import type { Call } from '../xen/hypercall.ts';
import { dropBaseptrs, newBaseptr, newUserBaseptr } from './baseptr.ts';
import { RFLAGS_FIXED, RFLAGS_IF, RFLAGS_IOPL, RFLAGS_LOADABLE, RFLAGS_VM } from './bounce.ts';
import { publish, publishHandlers } from './cells.ts';
import { CR0, CR4, chooseCr4, EFER } from './control-registers.ts';
import { setDebugRegister } from './debug-registers.ts';
import { FIRST_RESERVED_GDT_ENTRY } from './descriptor-check.ts';
import { loadSegment, setGdt, setLdt } from './descriptors.ts';
import { isCanonical } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import { emptyTrapTable, type PvVcpu } from './pv-vcpu.ts';

/** Bytes of the structure, and offsets in it. */
const SIZE = 0x1430;
const FLAGS = 512;
/** struct cpu_user_regs: 15 general registers, an error code and a vector, then these. */
const GENERAL = 520;
const RIP = GENERAL + 128;
const CS = GENERAL + 136;
const RFLAGS = GENERAL + 144;
const RSP = GENERAL + 152;
const SS = GENERAL + 160;
const ES = GENERAL + 168;
const DS = GENERAL + 176;
const FS = GENERAL + 184;
const GS = GENERAL + 192;
const TRAPS = 720;
const LDT_BASE = 4816;
const LDT_ENTRIES = 4824;
const GDT_FRAMES = 4832;
const GDT_ENTRIES = 4960;
const KERNEL_SS = 4968;
const KERNEL_SP = 4976;
const CONTROL_REGISTERS = 4984;
const DEBUG_REGISTERS = 5048;
const EVENT_CALLBACK = 5112;
const FAILSAFE_CALLBACK = 5120;
const SYSCALL_CALLBACK = 5128;
const FS_BASE = 5144;
const GS_BASE_KERNEL = 5152;
const GS_BASE_USER = 5160;

/** VGCF_*: there is an image of the FPU, the processor begins in its kernel, what its callbacks mask, and that it is up at once. */
const VGCF_I387_VALID = 1 << 0;
const VGCF_IN_KERNEL = 1 << 2;
const VGCF_FAILSAFE_DISABLES_EVENTS = 1 << 3;
const VGCF_SYSCALL_DISABLES_EVENTS = 1 << 4;
const VGCF_ONLINE = 1 << 5;

/** In the order of the structure. */
const ORDER = [
  'r15',
  'r14',
  'r13',
  'r12',
  'rbp',
  'rbx',
  'r11',
  'r10',
  'r9',
  'r8',
  'rax',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
] as const;
const ADDRESSES = [
  RIP,
  RSP,
  KERNEL_SP,
  LDT_BASE,
  FS_BASE,
  GS_BASE_KERNEL,
  GS_BASE_USER,
  EVENT_CALLBACK,
  FAILSAFE_CALLBACK,
  SYSCALL_CALLBACK,
];
const DESCRIPTORS_PER_PAGE = 512;

class Context {
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  long(at: number): bigint {
    return this.#view.getBigUint64(at, true);
  }
  word(at: number): number {
    return this.#view.getUint16(at, true);
  }
  /** A long that counts, or numbers a frame: what a double cannot hold exactly is too many either way. */
  count(at: number): number {
    return Number(this.long(at));
  }
  control(number: number): bigint {
    return this.long(CONTROL_REGISTERS + 8 * number);
  }
  get flags(): number {
    return this.#view.getUint32(FLAGS, true);
  }
  get inKernel(): boolean {
    return (this.flags & VGCF_IN_KERNEL) !== 0;
  }
  /** The frame that a control register names as CR3 would; 0: none. */
  root(number: number): number {
    return Number(this.control(number) >> 12n);
  }
  get gdtFrames(): number[] {
    const pages = Math.ceil(this.count(GDT_ENTRIES) / DESCRIPTORS_PER_PAGE);
    return Array.from({ length: pages }, (_, page) => this.count(GDT_FRAMES + 8 * page));
  }
}

const TS = BigInt(CR0_TS);
const none: Segment = { selector: 0, base: 0n, limit: 0, attributes: 0 };

/** VCPUOP_initialise. 0 or -errno; on an error nothing has changed. */
export function initialisePv(pv: PvDomain, call: Call, vcpu: Vcpu, argument: bigint): number {
  const v = pv.of(vcpu);
  // A 32-bit guest has one processor, and that is initialised.
  if (pv.abi.width === 32) return -EOPNOTSUPP;
  const bytes = call.read(argument, SIZE);
  if (!bytes) return -EFAULT;
  const context = new Context(bytes);
  if (context.flags & VGCF_I387_VALID) {
    pv.domain.context.log.once(
      'xen-pv-fpu',
      'xen-pv: VCPUOP_initialise with an image of the FPU: refused, -EOPNOTSUPP',
    );
    return -EOPNOTSUPP;
  }
  if (!isAcceptable(context)) return -EINVAL;
  v.inKernel = context.inKernel;
  const error = take(pv, v, context);
  if (error !== 0) {
    release(pv, v);
    return error;
  }
  setEntryPoints(v, context);
  v.state.xcr0Supported = pv.of(call.vcpu).state.xcr0Supported;
  setRegisters(pv, v, context);
  if (context.flags & VGCF_ONLINE) vcpu.start();
  return 0;
}

/** What can be said of the context without looking at memory. */
function isAcceptable(context: Context): boolean {
  if (!ADDRESSES.every(at => isCanonical(context.long(at)))) return false;
  for (let i = 0; i < 256; i++) if (!isCanonical(context.long(TRAPS + 16 * i + 8))) return false;
  if (context.count(GDT_ENTRIES) > FIRST_RESERVED_GDT_ENTRY) return false;
  return context.inKernel || context.root(1) !== 0;
}

/** Takes the references that the context needs: descriptor tables, roots, and segments in them. 0 or -errno. */
function take(pv: PvDomain, v: PvVcpu, context: Context): number {
  const gdt = setGdt(pv, v, context.gdtFrames, context.count(GDT_ENTRIES));
  if (gdt !== 0) return gdt;
  const root = newBaseptr(pv, v, context.root(3));
  if (root !== 0) return root;
  const user = context.root(1) === 0 ? 0 : newUserBaseptr(pv, v, context.root(1));
  if (user !== 0) return user;
  const ldtEntries = context.count(LDT_ENTRIES);
  const ldt = setLdt(pv, v, context.long(LDT_BASE), ldtEntries);
  if (ldt !== 0) return ldt;
  const [cs, ss] = [loadSegment(pv, v, context.word(CS) | SELECTOR_RPL, 'code'), stackOf(pv, v, context)];
  return cs && ss ? 0 : -EINVAL;
}

function release(pv: PvDomain, v: PvVcpu): void {
  setLdt(pv, v, 0n, 0);
  dropBaseptrs(pv, v);
  setGdt(pv, v, [], 0);
  v.inKernel = true;
}

const stackOf = (pv: PvDomain, v: PvVcpu, context: Context): Segment | undefined =>
  loadSegment(pv, v, context.word(SS) | SELECTOR_RPL, 'stack');

/** Where the guest's kernel is entered. */
function setEntryPoints(v: PvVcpu, context: Context): void {
  const { state, vcpu } = v;
  const traps = emptyTrapTable();
  for (let i = 0; i < 256; i++) {
    const at = TRAPS + 16 * i;
    traps.flags[i] = context.word(at) >>> 8;
    traps.selector[i] = v.guestSelector(context.word(at + 2));
    traps.address[i] = context.long(at + 8);
  }
  state.traps = traps;
  v.kernelSs = v.guestSelector(context.word(KERNEL_SS));
  v.kernelSp = context.long(KERNEL_SP);
  const masks = (flag: number) => (context.flags & flag) !== 0;
  const callback = (at: number, maskEvents: boolean) => ({ address: context.long(at), selector: 0, maskEvents });
  state.event = callback(EVENT_CALLBACK, true);
  state.failsafe = callback(FAILSAFE_CALLBACK, masks(VGCF_FAILSAFE_DISABLES_EVENTS));
  state.syscall64 = callback(SYSCALL_CALLBACK, masks(VGCF_SYSCALL_DISABLES_EVENTS));
  vcpu.state.iopl = Number((context.long(RFLAGS) & RFLAGS_IOPL) >> BigInt(IOPL_SHIFT));
  publish(v);
  publishHandlers(v);
}

function setRegisters(pv: PvDomain, v: PvVcpu, context: Context): void {
  const { cpu } = v;
  // Paging comes last: what it needs stands already.
  cpu.set('efer', EFER);
  cpu.set('cr4', CR4);
  cpu.set('cr3', pv.roots.cr3(v.root));
  cpu.set('cr0', CR0 | (context.control(0) & TS));
  if (context.control(4) !== 0n) chooseCr4(v, context.control(4));
  v.loadRoot();
  cpu.set('gdtBase', pv.area.gdtBase(v.vcpu.id));
  cpu.set('gdtLimit', 0xffffn);
  const data: readonly [SegmentName, number][] = [
    ['ds', DS],
    ['es', ES],
    ['fs', FS],
    ['gs', GS],
  ];
  for (const [name, at] of data) cpu.setSegment(name, loadSegment(pv, v, context.word(at), 'data') ?? none);
  cpu.setSegment('tr', none);
  cpu.setSegment('ss', stackOf(pv, v, context)!);
  cpu.setSegment('cs', loadSegment(pv, v, context.word(CS) | SELECTOR_RPL, 'code')!);
  // A selector that names a segment has a base of its own.
  const isNull = (at: number) => context.word(at) >>> 2 === 0;
  if (isNull(FS)) cpu.set('fsBase', context.long(FS_BASE));
  const bases = [context.long(GS_BASE_KERNEL), isNull(GS) ? context.long(GS_BASE_USER) : 0n] as const;
  const [active, other] = v.inKernel ? bases : bases.toReversed();
  cpu.set('gsBase', active!);
  cpu.set('kernelGsBase', other!);
  for (const [i, name] of ORDER.entries()) cpu.set(name, context.long(GENERAL + 8 * i));
  cpu.set('rsp', context.long(RSP));
  cpu.set('flags', (context.long(RFLAGS) & RFLAGS_LOADABLE & ~RFLAGS_VM) | RFLAGS_IF | RFLAGS_FIXED);
  cpu.set('rip', context.long(RIP));
  for (const name of ['dr0', 'dr1', 'dr2', 'dr3'] as const) cpu.set(name, 0n);
  cpu.set('dr6', BigInt(DR6_FIXED));
  cpu.set('dr7', BigInt(DR7_FIXED));
  for (const number of [0, 1, 2, 3, 6, 7]) setDebugRegister(v, number, context.long(DEBUG_REGISTERS + 8 * number));
}
