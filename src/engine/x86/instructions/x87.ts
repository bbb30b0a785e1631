/**
 * The x87: escape opcodes D8 to DF, and WAIT (SDM 1, 5.2; SDM 2A, A.5). Everything that computes is a helper (x87.ts);
 * rows load and store memory themselves, so that its faults come before any change.
 */
import { CR0_MP, CR0_TS } from '../../../x86/control.ts';
import { NM } from '../../../x86/vectors.ts';
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import { checkMeaning, type Meaning, type Operand, type Row } from './row.ts';

const MP_AND_TS = CR0_MP | CR0_TS;

/**
 * Notes the address of the last x87 instruction that is not a control instruction: exception handlers read it (SDM 1,
 * 8.1.8). It is the linear address, which in flat segments equals the offset. The operand's address and the opcode are
 * not kept. The note comes last: where a pending exception faults, its handler must find the address of the instruction
 * that raised it.
 */
const remembered =
  (meaning: Meaning): Meaning =>
  (b, ...operands) => {
    meaning(b, ...operands);
    b.setState(state.FPU_IP, b.tier.here(b));
  };

const plain =
  (helper: string): Meaning =>
  b => {
    b.helper(helper);
  };

/** The number i of ST(i), which stands in ModRM.rm; REX.B means nothing here. */
const stackIndex = (b: Builder, register: Operand): Value => b.and(register.number(), b.const(7));

const withRegister =
  (helper: string): Meaning =>
  (b, register) => {
    b.helper(helper, stackIndex(b, register));
  };

/** #MF, x87 floating-point error. */
const MF = 16;
/** In the status word: an unmasked exception waits. */
const ES = 0x80;

/**
 * What a waiting instruction with a memory operand does before it touches memory: an exception that waits comes before
 * the operand's page fault. (Helpers check it too, for those without one.)
 */
function waitFirst(b: Builder): void {
  b.raiseIf(b.narrow(b.and(b.state(state.FPU_STATUS, 16), b.const(ES))), MF);
}

const withMemory =
  (helper: string): Meaning =>
  (b, source) => {
    waitFirst(b);
    b.helper(helper, source.get());
  };

/** The answer in RFLAGS. */
const toFlags =
  (helper: string): Meaning =>
  (b, register) => {
    b.helper(helper, stackIndex(b, register));
    b.flagsFromBits(b.state32(state.RESULT));
  };

const conditional =
  (code: number): Meaning =>
  (b, register) => {
    b.helper('fcmov', stackIndex(b, register), b.wide(b.condition(code)));
  };

/** A store: computed, written unless an unmasked exception forbids it, made definite (see x87/transfer.ts). */
const store =
  (helper: string, pops: boolean): Meaning =>
  (b, destination) => {
    waitFirst(b);
    // The destination must be writable even where an unmasked exception keeps the value back.
    destination.get();
    b.helper(helper);
    b.when(b.state32(state.FPU_WRITES), () => destination.set(b.state(state.RESULT, destination.bits)));
    b.helper(pops ? 'fstp_commit' : 'fst_commit');
  };

/** The same for ten bytes. */
const storeTen =
  (helper: string): Meaning =>
  (b, destination) => {
    waitFirst(b);
    b.loadForWrite(destination.address(), 64);
    b.loadForWrite(destination.displaced(b.const(8)), 16);
    b.helper(helper);
    b.when(b.state32(state.FPU_WRITES), () => {
      b.store(destination.displaced(b.const(8)), 16, b.state(state.RESULT + 8, 16));
      b.store(destination.address(), 64, b.state(state.RESULT));
    });
    b.helper('fstp_commit');
  };

const loadTen =
  (helper: string): Meaning =>
  (b, source) => {
    waitFirst(b);
    const significand = b.load(source.address(), 64);
    b.helper(helper, significand, b.load(source.displaced(b.const(8)), 16));
  };

/** Cuts `size` bytes into pieces as wide as the image's fields, by which it has to be aligned: offset and bits of each. */
function* pieces(size: number): Generator<[number, number]> {
  let offset = 0;
  for (const bits of size % 4 ? [16] : [32]) for (; size - offset >= bits / 8; offset += bits / 8) yield [offset, bits];
}

/** The short form of an image goes with 16-bit operand size. */
const imageSize = (memory: Operand, short: number, long: number) => (memory.bits === 16 ? short : long);

const saveImage =
  (name: string, short: number, long: number): Meaning =>
  (b, destination) => {
    const size = imageSize(destination, short, long);
    // Both ends first: a fault then finds nothing written.
    for (const offset of [0, size - 1]) b.loadForWrite(destination.displaced(b.const(offset)), 8);
    b.helper(`${name}_${size}`);
    for (const [offset, bits] of pieces(size))
      b.store(destination.displaced(b.const(offset)), bits, b.state(state.FPU_IMAGE + offset, bits));
    b.helper(`${name}_commit`);
  };

const loadImage =
  (name: string, short: number, long: number): Meaning =>
  (b, source) => {
    waitFirst(b);
    const size = imageSize(source, short, long);
    for (const offset of [0, size - 1]) b.load(source.displaced(b.const(offset)), 8);
    for (const [offset, bits] of pieces(size))
      b.setState(state.FPU_IMAGE + offset, b.load(source.displaced(b.const(offset)), bits), bits);
    b.helper(`${name}_${size}`);
  };

const unit = { feature: 'fpu', unit: 'x87' } as const;

function memoryRow(
  name: string,
  opcode: number,
  group: number,
  operands: string,
  meaning: Meaning,
  writes = false,
): Row {
  return { name, opcode, group, form: 'memory', operands, writes: writes ? [0] : [], meaning, ...unit };
}

/** A form with ST(i): eight ModRM bytes. The operand is there for its number alone. */
function registerRow(name: string, opcode: number, group: number, meaning: Meaning): Row {
  return { name, opcode, group, form: 'register', operands: 'Ed', writes: [], meaning, ...unit };
}

function fixedRow(name: string, opcode: number, modrm: number, helper = name): Row {
  return { name, opcode, modrm, operands: '', meaning: plain(helper), ...unit };
}

/** The eight of D8, in the order of ModRM.reg. */
const arithmetic = ['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr'];

const arithmeticRows: Row[] = arithmetic.flatMap((name, group) => {
  const integer = name.replace('f', 'fi');
  const rows = [
    memoryRow(name, 0xd8, group, 'Md', withMemory(`${name}_m32`)),
    memoryRow(name, 0xdc, group, 'Mq', withMemory(`${name}_m64`)),
    memoryRow(integer, 0xda, group, 'Md', withMemory(`${integer}_m32int`)),
    memoryRow(integer, 0xde, group, 'Mw', withMemory(`${integer}_m16int`)),
  ];
  if (name.startsWith('fcom')) {
    rows.push(registerRow(name, 0xd8, group, withRegister(`${name}_sti`)));
    return rows;
  }
  // With ST(i) as destination the encodings of the plain and the reversed forms are exchanged (SDM 2A, A.5.2.5).
  const exchanged = group >= 4 ? group ^ 1 : group;
  rows.push(
    registerRow(name, 0xd8, group, withRegister(`${name}_st0_sti`)),
    registerRow(name, 0xdc, exchanged, withRegister(`${name}_sti_st0`)),
    registerRow(`${name}p`, 0xde, exchanged, withRegister(`${name}p_sti_st0`)),
  );
  return rows;
});

const transferRows: Row[] = [
  memoryRow('fld', 0xd9, 0, 'Md', withMemory('fld_m32')),
  memoryRow('fld', 0xdd, 0, 'Mq', withMemory('fld_m64')),
  memoryRow('fld', 0xdb, 5, 'M', loadTen('fld_m80')),
  memoryRow('fild', 0xdf, 0, 'Mw', withMemory('fild_m16int')),
  memoryRow('fild', 0xdb, 0, 'Md', withMemory('fild_m32int')),
  memoryRow('fild', 0xdf, 5, 'Mq', withMemory('fild_m64int')),
  memoryRow('fbld', 0xdf, 4, 'M', loadTen('fbld')),
  memoryRow('fst', 0xd9, 2, 'Md', store('fst_m32', false), true),
  memoryRow('fstp', 0xd9, 3, 'Md', store('fst_m32', true), true),
  memoryRow('fst', 0xdd, 2, 'Mq', store('fst_m64', false), true),
  memoryRow('fstp', 0xdd, 3, 'Mq', store('fst_m64', true), true),
  memoryRow('fstp', 0xdb, 7, 'M', storeTen('fst_m80'), true),
  memoryRow('fist', 0xdf, 2, 'Mw', store('fist_m16int', false), true),
  memoryRow('fistp', 0xdf, 3, 'Mw', store('fist_m16int', true), true),
  memoryRow('fist', 0xdb, 2, 'Md', store('fist_m32int', false), true),
  memoryRow('fistp', 0xdb, 3, 'Md', store('fist_m32int', true), true),
  memoryRow('fistp', 0xdf, 7, 'Mq', store('fist_m64int', true), true),
  { ...memoryRow('fisttp', 0xdf, 1, 'Mw', store('fistt_m16int', true), true), feature: 'sse3' },
  { ...memoryRow('fisttp', 0xdb, 1, 'Md', store('fistt_m32int', true), true), feature: 'sse3' },
  { ...memoryRow('fisttp', 0xdd, 1, 'Mq', store('fistt_m64int', true), true), feature: 'sse3' },
  memoryRow('fbstp', 0xdf, 6, 'M', storeTen('fbst'), true),
  registerRow('fld', 0xd9, 0, withRegister('fld_sti')),
  registerRow('fst', 0xdd, 2, withRegister('fst_sti')),
  registerRow('fstp', 0xdd, 3, withRegister('fstp_sti')),
  registerRow('fxch', 0xd9, 1, withRegister('fxch')),
];

/** FCMOVB FCMOVE FCMOVBE FCMOVU at DA /0-3 and their opposites at DB /0-3: condition codes as Jcc has them. */
const conditionalRows: Row[] = [
  ['b', 2],
  ['e', 4],
  ['be', 6],
  ['u', 10],
].flatMap(([suffix, code], group): Row[] => [
  { ...registerRow(`fcmov${suffix}`, 0xda, group, conditional(code as number)), feature: 'cmov' },
  { ...registerRow(`fcmovn${suffix}`, 0xdb, group, conditional((code as number) + 1)), feature: 'cmov' },
]);

const compareRows: Row[] = [
  registerRow('fucom', 0xdd, 4, withRegister('fucom_sti')),
  registerRow('fucomp', 0xdd, 5, withRegister('fucomp_sti')),
  fixedRow('fcompp', 0xde, 0xd9),
  fixedRow('fucompp', 0xda, 0xe9),
  { ...registerRow('fcomi', 0xdb, 6, toFlags('fcomi')), feature: 'cmov' },
  { ...registerRow('fucomi', 0xdb, 5, toFlags('fucomi')), feature: 'cmov' },
  { ...registerRow('fcomip', 0xdf, 6, toFlags('fcomip')), feature: 'cmov' },
  { ...registerRow('fucomip', 0xdf, 5, toFlags('fucomip')), feature: 'cmov' },
  fixedRow('ftst', 0xd9, 0xe4),
  fixedRow('fxam', 0xd9, 0xe5),
];

/** D9 E0 and on: no operands but the stack. */
const stackRows: Row[] = [
  ...['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'].map((name, i) => fixedRow(name, 0xd9, 0xe8 + i)),
  fixedRow('fchs', 0xd9, 0xe0),
  fixedRow('fabs', 0xd9, 0xe1),
  ...['f2xm1', 'fyl2x', 'fptan', 'fpatan', 'fxtract', 'fprem1', 'fdecstp', 'fincstp'].map((name, i) =>
    fixedRow(name, 0xd9, 0xf0 + i),
  ),
  ...['fprem', 'fyl2xp1', 'fsqrt', 'fsincos', 'frndint', 'fscale', 'fsin', 'fcos'].map((name, i) =>
    fixedRow(name, 0xd9, 0xf8 + i),
  ),
];

/** WAIT looks at CR0 in its own way: #NM needs TS and MP (SDM 3A, table 2-2). */
const wait: Meaning = b => {
  const both = b.eq(b.and(b.state(state.CR0, 32), b.const(MP_AND_TS)), b.const(MP_AND_TS));
  b.raiseIf(both, NM);
  b.helper('fwait');
};

/** FNSTSW AX. */
const statusToAx: Meaning = b => {
  b.setGpr(0, b.zx(b.helper('fnstsw'), 16), 16);
};

/** A word of the unit to memory; these wait for nothing. */
const storeWord =
  (helper: string): Meaning =>
  (b, destination) => {
    destination.set(b.zx(b.helper(helper), 16));
  };

const controlRows: Row[] = [
  { name: 'fwait', opcode: 0x9b, operands: '', meaning: wait, feature: 'fpu' },
  fixedRow('fnop', 0xd9, 0xd0),
  fixedRow('fninit', 0xdb, 0xe3),
  fixedRow('fnclex', 0xdb, 0xe2),
  // FENI, FDISI and FSETPM of the 8087 and 287: accepted, waiting for nothing, and nothing happens.
  { ...fixedRow('fneni', 0xdb, 0xe0), meaning: () => {} },
  { ...fixedRow('fndisi', 0xdb, 0xe1), meaning: () => {} },
  { ...fixedRow('fnsetpm', 0xdb, 0xe4), meaning: () => {} },
  registerRow('ffree', 0xdd, 0, withRegister('ffree')),
  registerRow('ffreep', 0xdf, 0, withRegister('ffreep')),
  memoryRow('fldcw', 0xd9, 5, 'Mw', withMemory('fldcw')),
  memoryRow('fnstcw', 0xd9, 7, 'Mw', storeWord('fnstcw'), true),
  memoryRow('fnstsw', 0xdd, 7, 'Mw', storeWord('fnstsw'), true),
  { ...fixedRow('fnstsw', 0xdf, 0xe0), meaning: statusToAx },
  memoryRow('fnstenv', 0xd9, 6, 'Mv', saveImage('fnstenv', 14, 28), true),
  memoryRow('fldenv', 0xd9, 4, 'Mv', loadImage('fldenv', 14, 28)),
  memoryRow('fnsave', 0xdd, 6, 'Mv', saveImage('fnsave', 94, 108), true),
  memoryRow('frstor', 0xdd, 4, 'Mv', loadImage('frstor', 94, 108)),
];

export const x87Rows: Row[] = [
  ...[...arithmeticRows, ...transferRows, ...conditionalRows, ...compareRows, ...stackRows].map(row => ({
    ...checkMeaning(row),
    meaning: remembered(row.meaning),
  })),
  ...controlRows,
];
