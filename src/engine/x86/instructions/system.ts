/**
 * System instructions (SDM 1, 5.20) and port I/O. Nearly all are helpers: see control.ts and segments.ts one folder up.
 */

import { AC, IF } from '../../../x86/flags.ts';
import { IA32_PRED_CMD, IA32_SPEC_CTRL, PRED_CMD_MOST, SPEC_CTRL_MOST } from '../../../x86/msrs.ts';
import { FS, GS } from '../../../x86/segments.ts';
import { GP, UD } from '../../../x86/vectors.ts';
import type { Builder, Value } from '../builder.ts';
import { NATIVE_SPECULATION, state } from '../state.ts';
import type { ListMeaning, Meaning, Operand, Row } from './row.ts';

const helper =
  (name: string): ListMeaning =>
  (b, ...operands) =>
    void b.helper(name, ...operands.map(operand => operand.get()));
/** A helper after which interrupts may have become possible, or translations or modes have changed. */
const changing =
  (name: string): ListMeaning =>
  (b, ...operands) => {
    b.helper(name, ...operands.map(operand => operand.get()));
    b.tier.attend(b);
  };

const portIn: Meaning = (b, value, port) => value.set(b.helper('port_in', b.zx(port.get(), 16), b.const(value.bits)));
const portOut: Meaning = (b, port, value) =>
  void b.helper('port_out', b.zx(port.get(), 16), b.const(value.bits), value.get());

/** SGDT and SIDT store the limit and a base of 32 bits, or 64 in 64-bit mode. */
const storeTable =
  (limit: number, base: number): Meaning =>
  (b, destination) => {
    b.helper('check_umip');
    const bits = b.tier.wide ? 64 : 32;
    b.loadForWrite(destination.displaced(b.const(2)), bits);
    b.store(destination.address(), 16, b.state(limit, 16));
    b.store(destination.displaced(b.const(2)), bits, b.state(base, bits));
  };
const loadTable =
  (name: string): Meaning =>
  (b, source) => {
    const limit = b.load(source.address(), 16);
    const base = b.load(source.displaced(b.const(2)), b.tier.wide ? 64 : 32);
    b.helper(name, limit, base, b.const(source.bits));
  };

const setRest = (set: number, clear: number) => (b: Builder) =>
  b.setState32(state.FLAGS_REST, b.either(b.both(b.state32(state.FLAGS_REST), b.i32(~clear)), b.i32(set)));

/** At CPL 0 IF is the kernel's; otherwise IOPL decides: the helper. */
const cli: Meaning = b =>
  b.when(
    b.state32(state.CPL),
    () => b.helper('cli'),
    () => setRest(0, IF)(b),
  );
/**
 * Interrupts wait for one more instruction if IF was clear (SDM 2B, STI). The helper checks IOPL, and sees to an interrupt
 * that waits.
 */
const sti: Meaning = b =>
  b.when(
    b.either(b.state32(state.CPL), b.state32(state.ATTENTION)),
    () => b.helper('sti'),
    () =>
      b.when(b.no(b.both(b.state32(state.FLAGS_REST), b.i32(IF))), () => {
        setRest(IF, 0)(b);
        b.setState(state.INTERRUPT_SHADOW, b.tier.next(b));
      }),
  );
const writeMsr: Meaning = b => {
  const index = b.gpr(1, 32);
  const value = b.variable(b.or(b.gpr(0, 32), b.shl(b.gpr(2, 32), 32)));
  const is = (number: number, most: bigint) => b.both(b.eq(index, BigInt(number)), b.leu(value.get(), most));
  const speculates = b.either(is(IA32_SPEC_CTRL, SPEC_CTRL_MOST), is(IA32_PRED_CMD, PRED_CMD_MOST));
  b.when(
    b.both(b.flag(state.NATIVE, NATIVE_SPECULATION), speculates),
    () => b.when(b.eq(index, BigInt(IA32_SPEC_CTRL)), () => b.setState(state.IA32_SPEC_CTRL, value.get())),
    () => {
      b.helper('wrmsr');
      b.tier.attend(b);
    },
  );
};
const swapgs: Meaning = b => {
  const base = b.state(state.SEGMENT_BASE + 8 * GS);
  const other = b.state(state.KERNEL_GS_BASE);
  b.setState(state.SEGMENT_BASE + 8 * GS, other);
  b.setState(state.KERNEL_GS_BASE, base);
};

const flagsChanging =
  (name: string): Meaning =>
  b => {
    b.helper(name);
    b.tier.attend(b);
  };
/** Reads into a register what a helper answers. */
const readInto =
  (name: string): Meaning =>
  (b, destination, source) =>
    destination.set(b.helper(name, source.number()));
/** CR8 is the local APIC's: the helper asks for it. */
const CONTROL_FIELDS = [
  [0, state.CR0],
  [2, state.CR2],
  [3, state.CR3],
  [4, state.CR4],
] as const;
const readControl: Meaning = (b, destination, source) => {
  const number = source.number();
  const value = b.variable(b.const(0));
  const among = ([first, ...rest]: readonly (readonly [number, number])[]): void => {
    if (!first) return value.set(b.helper('read_control', number));
    b.when(
      b.eq(number, b.const(first[0])),
      () => value.set(b.state(first[1])),
      () => among(rest),
    );
  };
  among(CONTROL_FIELDS);
  destination.set(value.get());
};
const writeFrom =
  (name: string): Meaning =>
  (b, destination, source) => {
    b.helper(name, destination.number(), source.get());
    b.tier.attend(b);
  };
const selectorInto =
  (name: string): Meaning =>
  (b, destination) => {
    const value = b.helper(name);
    destination.set(value);
  };
/** LAR, LSL, VERR, VERW answer through ZF. */
const probe =
  (name: string): ListMeaning =>
  (b, ...operands) => {
    const selector = b.zx(operands.at(-1)!.get(), 16);
    const value = b.helper(name, selector);
    const found = b.narrow(b.state(state.RESULT + 8));
    if (operands.length === 2) b.when(found, () => operands[0]!.set(value));
    const others = b.both(b.arithmeticFlags(), b.i32(~0x40));
    b.flagsFromBits(b.either(others, b.shl(found, b.i32(6))));
  };

/** VMCALL (Intel) and VMMCALL (AMD): both makers' guests may use either, so a processor of either make takes both. */
const hypercall: Meaning = b => {
  b.setState(state.RIP, b.nextOffset());
  b.helper('hypercall');
  b.tier.resume(b);
};

const kernel = 'needs CPL 0 or differs between hosts';
/** SLDT, STR and SMSW: a register as wide as the operand size, but 16 bits of memory (SDM 2B, SLDT). */
function storedWord(name: string, opcode: number, group: number): Row[] {
  const row = { name, opcode, group, meaning: selectorInto(name), untested: kernel };
  return [
    { ...row, form: 'register', operands: 'Ev' },
    { ...row, form: 'memory', operands: 'Ew' },
  ];
}

const CONTROL_REGISTERS = [0, 2, 3, 4, 8];
const DEBUG_REGISTERS = [0, 1, 2, 3, 4, 5, 6, 7];

export const systemRows: Row[] = [
  { name: 'in', opcode: 0xe4, operands: 'AL,Ib', meaning: portIn, ends: true, untested: 'port I/O' },
  { name: 'in', opcode: 0xe5, operands: 'eAX,Ib', meaning: portIn, ends: true, untested: 'port I/O' },
  { name: 'in', opcode: 0xec, operands: 'AL,DX', meaning: portIn, ends: true, untested: 'port I/O' },
  { name: 'in', opcode: 0xed, operands: 'eAX,DX', meaning: portIn, ends: true, untested: 'port I/O' },
  { name: 'out', opcode: 0xe6, operands: 'Ib,AL', writes: [], meaning: portOut, ends: true, untested: 'port I/O' },
  { name: 'out', opcode: 0xe7, operands: 'Ib,eAX', writes: [], meaning: portOut, ends: true, untested: 'port I/O' },
  { name: 'out', opcode: 0xee, operands: 'DX,AL', writes: [], meaning: portOut, ends: true, untested: 'port I/O' },
  { name: 'out', opcode: 0xef, operands: 'DX,eAX', writes: [], meaning: portOut, ends: true, untested: 'port I/O' },
  { name: 'cli', opcode: 0xfa, operands: '', meaning: cli, untested: kernel },
  { name: 'sti', opcode: 0xfb, operands: '', meaning: sti, ends: true, straight: true, untested: kernel },
  {
    name: 'hlt',
    opcode: 0xf4,
    operands: '',
    meaning: flagsChanging('hlt'),
    privileged: true,
    ends: true,
    untested: kernel,
  },
  {
    name: 'clac',
    opcode: 0x0f01,
    modrm: 0xca,
    operands: '',
    meaning: b => {
      b.raiseIf(b.state32(state.CPL), UD);
      setRest(0, AC)(b);
      b.tier.attendAccess(b);
    },
    feature: 'smap',
  },
  {
    name: 'stac',
    opcode: 0x0f01,
    modrm: 0xcb,
    operands: '',
    meaning: b => {
      b.raiseIf(b.state32(state.CPL), UD);
      setRest(AC, 0)(b);
      b.tier.attendAccess(b);
    },
    feature: 'smap',
  },
  ...storedWord('sldt', 0x0f00, 0),
  ...storedWord('str', 0x0f00, 1),
  {
    name: 'lldt',
    opcode: 0x0f00,
    group: 2,
    operands: 'Ew',
    writes: [],
    meaning: helper('lldt'),
    privileged: 'in protected mode',
    untested: kernel,
  },
  {
    name: 'ltr',
    opcode: 0x0f00,
    group: 3,
    operands: 'Ew',
    writes: [],
    meaning: helper('ltr'),
    privileged: 'in protected mode',
    untested: kernel,
  },
  { name: 'verr', opcode: 0x0f00, group: 4, operands: 'Ew', writes: [], meaning: probe('verr') },
  { name: 'verw', opcode: 0x0f00, group: 5, operands: 'Ew', writes: [], meaning: probe('verw') },
  {
    name: 'sgdt',
    opcode: 0x0f01,
    group: 0,
    form: 'memory',
    operands: 'Mv',
    writes: [],
    meaning: storeTable(state.GDT_LIMIT, state.GDT_BASE),
    untested: kernel,
  },
  {
    name: 'sidt',
    opcode: 0x0f01,
    group: 1,
    form: 'memory',
    operands: 'Mv',
    writes: [],
    meaning: storeTable(state.IDT_LIMIT, state.IDT_BASE),
    untested: kernel,
  },
  {
    name: 'lgdt',
    opcode: 0x0f01,
    group: 2,
    form: 'memory',
    operands: 'Mv',
    writes: [],
    meaning: loadTable('lgdt'),
    privileged: true,
    untested: kernel,
  },
  {
    name: 'lidt',
    opcode: 0x0f01,
    group: 3,
    form: 'memory',
    operands: 'Mv',
    writes: [],
    meaning: loadTable('lidt'),
    privileged: true,
    untested: kernel,
  },
  ...storedWord('smsw', 0x0f01, 4),
  {
    name: 'lmsw',
    opcode: 0x0f01,
    group: 6,
    operands: 'Ew',
    writes: [],
    meaning: changing('lmsw'),
    privileged: true,
    ends: true,
    untested: kernel,
  },
  {
    name: 'invlpg',
    opcode: 0x0f01,
    group: 7,
    form: 'memory',
    operands: 'Mb',
    writes: [],
    meaning: (b, m) => {
      b.helper('invlpg', m.uncheckedAddress());
      b.tier.attend(b);
    },
    privileged: true,
    ends: true,
    untested: kernel,
  },
  {
    name: 'swapgs',
    opcode: 0x0f01,
    modrm: 0xf8,
    operands: '',
    meaning: swapgs,
    privileged: true,
    mode: 'o64',
    untested: kernel,
  },
  {
    name: 'rdtscp',
    opcode: 0x0f01,
    modrm: 0xf9,
    operands: '',
    meaning: helper('rdtscp'),
    feature: 'rdtscp',
    untested: 'time differs between runs',
  },
  {
    name: 'vmcall',
    opcode: 0x0f01,
    modrm: 0xc1,
    operands: '',
    meaning: hypercall,
    ends: true,
    untested: kernel,
  },
  {
    name: 'vmmcall',
    opcode: 0x0f01,
    modrm: 0xd9,
    operands: '',
    meaning: hypercall,
    ends: true,
    untested: kernel,
  },
  { name: 'lar', opcode: 0x0f02, operands: 'Gv,Ew', meaning: probe('lar') },
  { name: 'lsl', opcode: 0x0f03, operands: 'Gv,Ew', meaning: probe('lsl') },
  {
    name: 'clts',
    opcode: 0x0f06,
    operands: '',
    meaning: changing('clts'),
    privileged: true,
    ends: true,
    untested: kernel,
  },
  { name: 'invd', opcode: 0x0f08, operands: '', meaning: () => {}, privileged: true, untested: kernel },
  { name: 'wbinvd', opcode: 0x0f09, operands: '', meaning: () => {}, privileged: true, untested: kernel },
  {
    name: 'mov',
    opcode: 0x0f20,
    operands: 'Ry,Cy',
    meaning: readControl,
    size: 'f64',
    registers: CONTROL_REGISTERS,
    privileged: true,
    untested: kernel,
  },
  {
    name: 'mov',
    opcode: 0x0f21,
    operands: 'Ry,Dy',
    meaning: readInto('read_debug'),
    size: 'f64',
    registers: DEBUG_REGISTERS,
    privileged: true,
    untested: kernel,
  },
  {
    name: 'mov',
    opcode: 0x0f22,
    operands: 'Cy,Ry',
    writes: [],
    meaning: writeFrom('write_control'),
    size: 'f64',
    registers: CONTROL_REGISTERS,
    privileged: true,
    ends: true,
    untested: kernel,
  },
  {
    name: 'mov',
    opcode: 0x0f23,
    operands: 'Dy,Ry',
    writes: [],
    meaning: writeFrom('write_debug'),
    size: 'f64',
    registers: DEBUG_REGISTERS,
    privileged: true,
    ends: true,
    untested: kernel,
  },
  {
    name: 'wrmsr',
    opcode: 0x0f30,
    operands: '',
    meaning: writeMsr,
    privileged: true,
    ends: true,
    untested: kernel,
  },
  { name: 'rdtsc', opcode: 0x0f31, operands: '', meaning: helper('rdtsc'), untested: 'time differs between runs' },
  {
    name: 'rdmsr',
    opcode: 0x0f32,
    operands: '',
    meaning: helper('rdmsr'),
    privileged: true,
    ends: true, // a hypervisor's register may halt the processor
    untested: kernel,
  },
  { name: 'rdpmc', opcode: 0x0f33, operands: '', meaning: helper('rdpmc'), untested: kernel },
  { name: 'cpuid', opcode: 0x0fa2, operands: '', meaning: helper('cpuid'), untested: 'differs between hosts' },
  {
    name: 'pause',
    opcode: 0x90,
    prefix: 'f3',
    operands: '',
    meaning: b => b.when(b.state32(state.PAUSE_ENDS), () => b.helper('pause')),
  },
  {
    name: 'rdfsbase',
    opcode: 0x0fae,
    prefix: 'f3',
    group: 0,
    form: 'register',
    operands: 'Ry',
    meaning: (b, r) => base(b, () => r.set(b.state(state.SEGMENT_BASE + 8 * FS))),
    mode: 'o64',
    feature: 'fsgsbase',
  },
  {
    name: 'rdgsbase',
    opcode: 0x0fae,
    prefix: 'f3',
    group: 1,
    form: 'register',
    operands: 'Ry',
    meaning: (b, r) => base(b, () => r.set(b.state(state.SEGMENT_BASE + 8 * GS))),
    mode: 'o64',
    feature: 'fsgsbase',
  },
  {
    name: 'wrfsbase',
    opcode: 0x0fae,
    prefix: 'f3',
    group: 2,
    form: 'register',
    operands: 'Ry',
    writes: [],
    meaning: (b, r) => base(b, () => setBase(b, FS, r.get())),
    mode: 'o64',
    feature: 'fsgsbase',
  },
  {
    name: 'wrgsbase',
    opcode: 0x0fae,
    prefix: 'f3',
    group: 3,
    form: 'register',
    operands: 'Ry',
    writes: [],
    meaning: (b, r) => base(b, () => setBase(b, GS, r.get())),
    mode: 'o64',
    feature: 'fsgsbase',
  },
  {
    name: 'invpcid',
    opcode: 0x0f3882,
    prefix: '66',
    size: 'f64',
    form: 'memory',
    operands: 'Gy,Mx',
    writes: [],
    meaning: (b, kind, m) => {
      const pcid = b.load(m.address(), 64);
      const address = b.load(m.displaced(b.const(8)), 64);
      b.helper('invpcid', kind.get(), pcid, address);
      b.tier.attend(b);
    },
    privileged: true,
    ends: true,
    feature: 'invpcid',
    untested: kernel,
  },
  {
    name: 'clflush',
    opcode: 0x0fae,
    group: 7,
    form: 'memory',
    prefix: 'none',
    operands: 'Mb',
    writes: [],
    meaning: (b, m) => void b.use(b.load(m.address(), 8)),
    feature: 'clflush',
  },
  {
    name: 'rdrand',
    opcode: 0x0fc7,
    group: 6,
    form: 'register',
    operands: 'Rv',
    meaning: random,
    feature: 'rdrand',
    untested: 'random',
  },
  {
    name: 'rdseed',
    opcode: 0x0fc7,
    group: 7,
    form: 'register',
    operands: 'Rv',
    meaning: random,
    feature: 'rdseed',
    untested: 'random',
  },
];

/** FSGSBASE instructions need CR4.FSGSBASE. */
function base(b: Builder, then: () => void): void {
  const enabled = b.narrow(b.and(b.state(state.CR4), b.const(1 << 16)));
  b.raiseIf(b.no(enabled), UD);
  then();
}
/** A base must be canonical (#GP otherwise). */
function setBase(b: Builder, segment: number, value: Value): void {
  b.raiseIf(b.ne(b.sar(b.shl(value, b.const(16)), b.const(16)), value), GP, 0);
  b.setState(state.SEGMENT_BASE + 8 * segment, value);
}
function random(b: Builder, destination: Operand): void {
  const value = b.helper('random', b.const(destination.bits));
  destination.set(value);
  b.flagsFromBits(b.i32(1));
}
