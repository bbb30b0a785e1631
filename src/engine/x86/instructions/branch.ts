/** Control transfer (SDM 1, 5.1.7). Far transfers and interrupts are helpers: they change more than RIP. */
import { BR, GP, UD } from '../../../x86/vectors.ts';
import type { Builder, Value } from '../builder.ts';
import type { TrapName } from '../traps.ts';
import type { ListMeaning, Meaning, Operand, Row } from './row.ts';
import { popFrom, probePush, push, stackOffset, stackOffsetBy } from './stack.ts';

/**
 * The target of a jump, call or return: canonical where it is indirect, within CS's limit outside 64-bit mode; else #GP(0) at the
 * branch itself (SDM 2A, JMP). `before` makes code of what else may fault and comes first.
 */
function targetOf(b: Builder, operand: Operand, target: Value, before = () => {}): Value {
  const { wide, flat } = b.tier;
  const refuseIf = (condition: Value) =>
    b.when(condition, () => {
      before();
      b.raise(GP, 0);
    });
  if (!wide && !flat) refuseIf(b.no(b.leu(target, b.codeLimit())));
  if (wide && operand.kind !== 'immediate') refuseIf(b.ne(b.sar(b.shl(target, b.const(16)), b.const(16)), target));
  return target;
}
const jump: Meaning = (b, target) => b.jump(targetOf(b, target, target.get()));
const call: Meaning = (b, target) => {
  const { bits } = target;
  // Where both the stack and the target are bad, the stack's fault is raised.
  const to = targetOf(b, target, target.get(), () => probePush(b, bits));
  push(b, bits, b.zx(b.nextOffset(), bits));
  b.jump(to);
};
const ret: Meaning = (b, size) => returnNear(b, size);
const retRelease: Meaning = (b, size, release) => returnNear(b, size, release);
function returnNear(b: Builder, size: Operand, release?: Operand): void {
  const target = targetOf(b, size, popFrom(b, size.bits, 0));
  stackOffset(b, size.bits / 8);
  if (release) stackOffsetBy(b, release.get());
  b.jump(target);
}
const jcc =
  (code: number): Meaning =>
  (b, target) =>
    b.branch(b.condition(code), target.get());

/** The counter is CX, ECX or RCX by address size: the last operand stands for it. */
const loop =
  (kind: 'loop' | 'loope' | 'loopne' | 'jcxz'): Meaning =>
  (b, target, counter) => {
    const count = counter.get();
    if (kind === 'jcxz') return b.branch(b.eqz(count), target.get());
    const left = b.zx(b.sub(count, b.const(1)), counter.bits);
    let again = b.no(b.eqz(left));
    if (kind === 'loope') again = b.both(again, b.zero());
    if (kind === 'loopne') again = b.both(again, b.no(b.zero()));
    if (!b.tier.flat) b.when(again, () => b.checkTarget(target.get()));
    counter.set(left);
    b.branch(again, target.get());
  };

/** A helper that sets CS and RIP itself; the tier goes on at RIP. */
const transfer =
  (name: string, ...more: ((b: Builder) => Value)[]): ListMeaning =>
  (b, ...operands) => {
    b.helper(
      name,
      ...more.map(make => make(b)),
      ...operands.map(o => (o.kind === 'register' ? b.const(o.bits) : o.get())),
      b.const(0),
    );
    b.tier.resume(b);
  };
/** One of the ways into the kernel and back, which has a fast path in 64-bit mode. */
const trap =
  (name: TrapName): ListMeaning =>
  (b, ...operands) => {
    const [size] = operands;
    if (!b.tier.wide || (size && size.bits !== 64)) return transfer(name)(b, ...operands);
    const done = b.tier.trap(b, name, name === 'syscall' ? b.tier.next(b) : undefined);
    b.when(b.no(done), () => b.helper(name, ...(size ? [b.const(64)] : [])));
    b.tier.resume(b);
  };
/** Far JMP and CALL through memory: offset, then selector. AMD has no m16:64; REX.W only widens what CALL pushes. */
const farThroughMemory =
  (name: string): Meaning =>
  (b, pointer) => {
    const bits = Math.min(pointer.bits, 32);
    const offset = b.load(pointer.address(), bits);
    const selector = b.load(pointer.displaced(b.const(bits / 8)), 16);
    b.helper(name, b.const(pointer.bits), offset, selector);
    b.tier.resume(b);
  };
const farDirect =
  (name: string): Meaning =>
  (b, pointer) => {
    const value = pointer.get();
    b.helper(name, b.const(pointer.bits), b.zx(value, 32), b.shr(value, b.const(32)));
    b.tier.resume(b);
  };

const CONDITIONS = ['o', 'no', 'b', 'nb', 'z', 'nz', 'be', 'nbe', 's', 'ns', 'p', 'np', 'l', 'nl', 'le', 'nle'];
/** But for overflow and parity. */
const often = (condition: string): Partial<Row> => (/[op]$/.test(condition) ? {} : { hot: true });
const system = 'transfers control to the system';

const transfers: Row[] = [
  ...CONDITIONS.flatMap((cc, code): Row[] => [
    {
      name: `j${cc}`,
      opcode: 0x70 + code,
      operands: 'Jb',
      writes: [],
      meaning: jcc(code),
      size: 'f64',
      ends: true,
      ...often(cc),
    },
    {
      name: `j${cc}`,
      opcode: 0x0f80 + code,
      operands: 'Jz',
      writes: [],
      meaning: jcc(code),
      size: 'f64',
      ends: true,
      ...often(cc),
    },
  ]),
  { name: 'jmp', opcode: 0xe9, operands: 'Jz', writes: [], meaning: jump, size: 'f64', ends: true, hot: true },
  { name: 'jmp', opcode: 0xeb, operands: 'Jb', writes: [], meaning: jump, size: 'f64', ends: true, hot: true },
  {
    name: 'jmp',
    opcode: 0xff,
    group: 4,
    operands: 'Ev',
    writes: [],
    meaning: jump,
    size: 'f64',
    ends: true,
    hot: true,
  },
  { name: 'call', opcode: 0xe8, operands: 'Jz', writes: [], meaning: call, size: 'f64', ends: true, hot: true },
  {
    name: 'call',
    opcode: 0xff,
    group: 2,
    operands: 'Ev',
    writes: [],
    meaning: call,
    size: 'f64',
    ends: true,
    hot: true,
  },
  { name: 'ret', opcode: 0xc3, operands: 'Fv', writes: [], meaning: ret, size: 'f64', ends: true, hot: true },
  { name: 'ret', opcode: 0xc2, operands: 'Fv,Iw', writes: [], meaning: retRelease, size: 'f64', ends: true },
  { name: 'loopne', opcode: 0xe0, operands: 'Jb,CX', writes: [], meaning: loop('loopne'), size: 'f64', ends: true },
  { name: 'loope', opcode: 0xe1, operands: 'Jb,CX', writes: [], meaning: loop('loope'), size: 'f64', ends: true },
  { name: 'loop', opcode: 0xe2, operands: 'Jb,CX', writes: [], meaning: loop('loop'), size: 'f64', ends: true },
  { name: 'jcxz', opcode: 0xe3, operands: 'Jb,CX', writes: [], meaning: loop('jcxz'), size: 'f64', ends: true },
  {
    name: 'jmpf',
    opcode: 0xff,
    group: 5,
    operands: 'Mp',
    writes: [],
    meaning: farThroughMemory('far_jump'),
    ends: true,
    debug: { loadsRf: true },
  },
  {
    name: 'callf',
    opcode: 0xff,
    group: 3,
    operands: 'Mp',
    writes: [],
    meaning: farThroughMemory('far_call'),
    ends: true,
    debug: { loadsRf: true },
  },
  {
    name: 'jmpf',
    opcode: 0xea,
    operands: 'Ap',
    writes: [],
    meaning: farDirect('far_jump'),
    mode: 'i64',
    ends: true,
    debug: { loadsRf: true },
  },
  {
    name: 'callf',
    opcode: 0x9a,
    operands: 'Ap',
    writes: [],
    meaning: farDirect('far_call'),
    mode: 'i64',
    ends: true,
    debug: { loadsRf: true },
  },
  { name: 'retf', opcode: 0xcb, operands: 'Fv', writes: [], meaning: transfer('far_return'), ends: true },
  { name: 'retf', opcode: 0xca, operands: 'Fv,Iw', writes: [], meaning: transfer('far_return'), ends: true },
  {
    name: 'iret',
    opcode: 0xcf,
    operands: 'Fv',
    writes: [],
    meaning: trap('iret'),
    ends: true,
    debug: { loadsRf: true },
  },
  {
    name: 'int3',
    opcode: 0xcc,
    operands: '',
    meaning: transfer('breakpoint'),
    ends: true,
    debug: { stepsByNewTf: true, loadsRf: true },
  },
  {
    name: 'int',
    opcode: 0xcd,
    operands: 'Ib',
    writes: [],
    meaning: transfer('software_interrupt'),
    ends: true,
    debug: { stepsByNewTf: true, loadsRf: true },
    untested: system,
  },
  {
    name: 'into',
    opcode: 0xce,
    operands: '',
    meaning: transfer('into', b => b.wide(b.overflow())),
    mode: 'i64',
    ends: true,
    debug: { stepsByNewTf: true, loadsRf: true },
  },
  {
    name: 'int1',
    opcode: 0xf1,
    operands: '',
    meaning: transfer('int1'),
    ends: true,
    debug: { stepsByNewTf: true, loadsRf: true },
    untested: system,
  },
  {
    name: 'syscall',
    opcode: 0x0f05,
    operands: '',
    meaning: trap('syscall'),
    ends: true,
    debug: { stepsByNewTf: true },
    feature: 'syscall',
    untested: system,
  },
  {
    name: 'sysret',
    opcode: 0x0f07,
    operands: 'Fy',
    writes: [],
    meaning: trap('sysret'),
    ends: true,
    debug: { stepsByNewTf: true },
    privileged: 'with SCE',
    feature: 'syscall',
    untested: system,
  },
  {
    name: 'sysenter',
    opcode: 0x0f34,
    operands: '',
    meaning: transfer('sysenter'),
    ends: true,
    feature: 'sysenter',
    untested: system,
  },
  {
    name: 'sysexit',
    opcode: 0x0f35,
    operands: 'Fy',
    writes: [],
    meaning: transfer('sysexit'),
    ends: true,
    privileged: true,
    feature: 'sysenter',
    untested: system,
  },
];

export const branchRows: Row[] = [
  ...transfers.map(row => ({ ...row, debug: { ...row.debug, branches: true as const } })),
  { name: 'ud2', opcode: 0x0f0b, operands: '', meaning: b => b.raise(UD), ends: true },
  { name: 'ud1', opcode: 0x0fb9, operands: 'Gv,Ev', writes: [], meaning: b => b.raise(UD), ends: true },
  { name: 'ud0', opcode: 0x0fff, operands: 'Gv,Ev', writes: [], meaning: b => b.raise(UD), ends: true },
  {
    name: 'bound',
    opcode: 0x62,
    operands: 'Gz,M',
    writes: [],
    meaning: (b, index, bounds) => {
      const { bits } = index;
      const i = b.sx(index.get(), bits);
      const lower = b.sx(b.load(bounds.address(), bits), bits);
      const upper = b.sx(b.load(bounds.displaced(b.const(bits / 8)), bits), bits);
      b.raiseIf(b.either(b.lts(i, lower), b.lts(upper, i)), BR);
    },
    mode: 'i64',
  },
];
