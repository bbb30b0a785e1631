/**
 * A row of the instruction table: one instruction form in the manual's own letters. Both tiers, the decoder and the vector
 * generator are made from these rows. Only helpers and CPUID bits stand elsewhere.
 */
import type { Builder, Value } from '../builder.ts';
import type { DebugTraits } from '../debug-model.ts';

/** All lanes of a vector as floats, or the lowest alone. */
export type Lanes = 'f32x4' | 'f64x2' | 'f32' | 'f64';

/** An operand as a meaning sees it. */
export interface Operand {
  readonly kind: 'register' | 'memory' | 'immediate';
  /** 8, 16, 32, 64, 128 or 256. */
  readonly bits: number;
  /**
   * The value: i64, zero-extended (immediates: sign-extended to `bits`, then zero-extended), or v128 for 128 bits. For
   * a memory operand that the row also writes (`writes`), the access already asks for write permission.
   */
  get(): Value;
  /**
   * 32 or 64 bits of memory as a float, or as a vector with zeros above, where the tier has a shorter way than `get`.
   */
  getAs(type: 'f32' | 'f64' | 'v128'): Value | undefined;
  /**
   * Stores: general registers as the architecture does (32 bits clear the upper half); vector registers only the low
   * `bits`, the rest stays, but for the upper half of a YMM register that a row of unit 'avx' clears.
   */
  set(value: Value): void;
  /** Of 256 bits: the two lanes, the lower first. */
  lanes(): readonly [Value, Value];
  setLanes(values: readonly [Value, Value]): void;
  /** Memory operands: the linear address, segment limits checked for `bits`. */
  address(): Value;
  /** Memory operands: the linear address, whatever the segment's limit and rights are (INVLPG). */
  uncheckedAddress(): Value;
  /** Memory operands of rows that write only in some cases: the linear address, the segment's rights checked for that. */
  addressForWrite(): Value;
  /** Memory operands with an index: log2 of its scale. */
  scale(): Value;
  /** Bit strings and gathers: the linear address of the element `bytes` (i64, signed) further on, wrapped to the address size. */
  element(bytes: Value): Value;
  /** Memory and string operands: the offset in the segment, as LEA gives it, not truncated to the operand size. */
  offset(): Value;
  /** Memory operands: the linear address `bytes` (i64, signed) further on in the same segment. */
  displaced(bytes: Value): Value;
  /** Memory operands: the linear address as it is once `bytes` have been popped (POP's own destination may use RSP). */
  afterPop(bytes: number): Value;
  /** String operands (X, Y): moves RSI or RDI by the operand's size, as DF says, in the address size. */
  step(): void;
  /** String operands: moves RSI or RDI up by so many bytes. */
  advance(bytes: Value): void;
  /** True if the lanes are known to hold no denormal number. Translated code remembers that of its XMM registers. */
  isDenormalFree(lanes: Lanes): boolean;
  /** Notes for the instructions that follow that the lanes hold no denormal number. */
  setDenormalFree(lanes: Lanes): void;
  /** The register's number (0-15; decided at translation time in one tier, at run time in the other: an i64 value). */
  number(): Value;
}

/**
 * What an instruction does. Called once per operand size and kind, with one operand for each that the row's `operands`
 * names. A meaning may name fewer parameters than its row has operands, never more: `checkMeaning` refuses that when
 * the table is made.
 */
export type Meaning = (b: Builder, first: Operand, second: Operand, third: Operand, fourth: Operand) => void;
/**
 * A meaning for rows with different numbers of operands; and how any meaning is called with a row's list of operands.
 */
export type ListMeaning = (b: Builder, ...operands: Operand[]) => void;

/** CPUID features a row may depend on (cpuid.ts says which bit each is). */
export type Feature =
  | 'fpu'
  | 'cmov'
  | 'cx8'
  | 'cx16'
  | 'mmx'
  | 'fxsr'
  | 'sse'
  | 'sse2'
  | 'sse3'
  | 'ssse3'
  | 'sse4_1'
  | 'sse4_2'
  | 'popcnt'
  | 'movbe'
  | 'lahf_lm'
  | 'syscall'
  | 'sysenter'
  | 'rdtscp'
  | 'fsgsbase'
  | 'xsave'
  | 'smap'
  | 'pcid'
  | 'invpcid'
  | 'clflush'
  | 'clflushopt'
  | 'rdrand'
  | 'rdseed'
  | 'rdpid'
  | 'adx'
  | 'bmi1'
  | 'bmi2'
  | 'lzcnt'
  | 'monitor'
  | 'pclmulqdq'
  | 'aes'
  | 'avx'
  | 'avx2'
  | 'fma'
  | 'f16c'
  | 'xsaveopt'
  | 'xsavec'
  | 'sha'
  | '3dnowprefetch';

/** In the order of their traps (state.UNIT_TRAP). */
export const UNITS = ['x87', 'mmx', 'sse', 'avx'] as const;
export type Unit = (typeof UNITS)[number];

export interface Row {
  /** The mnemonic, lower case, e.g. 'sub'. */
  name: string;
  /** 0x29; 0x0f29; 0x0f3829; 0x0f3a29. With `Z` operands: the first of eight. */
  opcode: number;
  /**
   * Mandatory prefix. 'none' means: not after 66, F3 or F2 (SSE). Absent: prefixes have their ordinary meaning.
   */
  prefix?: 'none' | '66' | 'f3' | 'f2';
  /**
   * Encoded with VEX (SDM 2A 2.3): `prefix` is then VEX.pp, and the opcode's escape bytes are VEX.mmmmm. `l`, `w`: VEX.L and VEX.W,
   * where any other is another row or #UD.
   */
  vex?: { readonly l?: 0 | 1; readonly w?: 0 | 1 };
  /** The memory operand's index is a vector register, which the operand T names (SDM 2A 2.3.12). */
  vectorIndex?: true;
  /** ModRM.reg, for groups. */
  group?: number;
  /** A whole ModRM byte, for x87 and system rows such as 0F 01 C1. */
  modrm?: number;
  /** Only the register (mod = 3) or only the memory form. */
  form?: 'register' | 'memory';
  /**
   * The manual's letters, comma separated (SDM 2 appendix A.2). Addressing: E G M R B I J O X Y Z S C D A. Registers by
   * name: AL CL DX rAX. Vectors: V W U H L (xmm, ymm), P Q N (mmx). Sizes: b w d q v z y p x (= 128 bits) qq (= 256), ss sd for the low
   * lane of an xmm register or memory. Letters of our own: F gives the operand size and is no operand (as S does where
   * the register is fixed); BX is XLAT's table; DI is MASKMOV's DS:[rDI]; T is a gather's index.
   */
  operands: string;
  /** Which operands are written, by index; default [0]. An operand that is read too is read for writing. */
  writes?: readonly number[];
  meaning: Meaning;
  /** 'i64': invalid in 64-bit mode; 'o64': only there. */
  mode?: 'i64' | 'o64';
  /** Only with REX.W; without it, the row of the same opcode that has no such mark. */
  rexW?: true;
  /** Operand size in 64-bit mode: 'd64' defaults to 64 (push, near branches' stack), 'f64' always is. */
  size?: 'd64' | 'f64';
  /** The control or debug registers that there are: ModRM.reg with any other number is #UD. */
  registers?: readonly number[];
  /**
   * Needs CPL 0, else #GP(0); or #UD, which comes first, where the instruction is not there (privilege.ts): the meaning
   * itself sees to that at CPL 0.
   */
  privileged?: true | 'with SCE' | 'with OSXSAVE' | 'in protected mode';
  /** May carry LOCK when its destination is memory. All else with LOCK is #UD. */
  lock?: true;
  feature?: Feature;
  /**
   * Which unit: checks of CR0.EM, CR0.TS, CR4.OSFXSR (SDM 3A 2.5, tables), XCR0; 'mmx' also switches the x87 to MMX. What 'avx' writes to
   * an XMM register clears the upper half of the YMM register.
   */
  unit?: Unit;
  /** 128- and 256-bit memory operands need not be aligned. */
  unaligned?: true;
  /** Ends a block: control transfers, and whatever changes how following code runs. */
  ends?: true;
  /** With `ends`: only because interrupts may be due; translated code goes straight on, and leaves when they are. */
  straight?: true;
  /** What debug exceptions have to know of the instruction (debug-model.ts). */
  debug?: DebugTraits;
  /** Flags the manual leaves undefined, e.g. 'AF OF': masked in the vectors. */
  undefined?: string;
  /**
   * One of the rows that nearly all execution consists of, or its register form is: inlined in the interpreter's loop.
   */
  hot?: true | 'register';
  /**
   * Why no vector from user mode on a real processor covers this row; rows with neither vectors nor this fail a test.
   */
  untested?: string;
}

/** Throws if a row's meaning takes operands that the row does not have; else gives the row back. */
export function checkMeaning(row: Row): Row {
  const operands = row.operands === '' ? 0 : row.operands.split(',').length;
  const parameters = row.meaning.length - 1;
  if (parameters > operands)
    throw new Error(
      `the meaning of ${row.name} takes ${parameters} operands, its row has ${operands}: "${row.operands}"`,
    );
  return row;
}
