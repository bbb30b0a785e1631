/**
 * THE TABLE of a processor's state: one row per field. `layOut` lays out the offsets and checks them. Reset, the waist's
 * registers, the comparison of tiers and `describe` are made from the rows (registers.ts). A new field is a new row; one
 * that hypervisors see is also a name in REGISTERS (paravirt/processor.ts).
 */
import type { RegisterName } from '../../paravirt/processor.ts';

const SIZES = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8, f64: 8, v128: 16 } as const;
export type FieldType = keyof typeof SIZES;

/**
 * - architecture: a manual defines it. Both tiers agree on it at every instruction; a snapshot keeps it.
 * - derived: follows from architecture; `Cpu` computes it anew when that changes.
 * - engine: the engine's own; a reset leaves it alone.
 * - scratch: means nothing between two instructions.
 */
export type Role = 'architecture' | 'derived' | 'engine' | 'scratch';

export interface Field {
  readonly type: FieldType;
  readonly role: Role;
  /** How many of them there are, `stride` bytes apart. */
  readonly count?: number;
  /** Default: the type's size. */
  readonly stride?: number;
  /** The elements' names, where they have names of their own. */
  readonly names?: readonly string[];
  /** After a reset: of all elements, or of each. Default: 0. */
  readonly initial?: bigint | readonly bigint[];
  /** What the waist calls it (paravirt/processor.ts), or each element of it. */
  readonly waist?: RegisterName | readonly (RegisterName | undefined)[];
  /** A reset leaves it alone, too: it says what the processor is, not what it has done. */
  readonly survivesReset?: true;
  /** An INIT leaves it alone, as it leaves all MSRs and units of floating point (SDM 3A table 9-1). */
  readonly survivesInit?: true;
  /** Part of the lazy form of RFLAGS: compared and shown as RFLAGS only. */
  readonly lazy?: true;
  /** Where it must start at a multiple of more than its type's size. */
  readonly align?: number;
  /** Where the manual defines it. */
  readonly manual?: string;
}
type Rows = Readonly<Record<string, Field>>;
const rows = <const R extends Rows>(table: R): R => table;

const SEGMENT_NAMES = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'] as const;

/** A decoded record names these by one byte, so they stand in the first 256 bytes: the ones that code uses most. */
// biome-ignore format: a table
const recordFields = rows({
  GPR: {
    type: 'u64', count: 16, role: 'architecture', manual: 'SDM 1, 3.4.1',
    names: ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'],
    waist: ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
  },
  /** Always zero: the base or index of an address that has none. */
  ZERO: { type: 'u64', role: 'scratch' },
  /** An address computed by an earlier record (16-bit and 0x67-prefixed addressing). */
  SCRATCH: { type: 'u64', role: 'scratch' },
  /** In 64-bit mode the first four stay 0. LDTR and TR: see LDT_BASE, TR_BASE. */
  SEGMENT_BASE: {
    type: 'u64', count: 6, role: 'architecture', manual: 'SDM 3A 3.4.3', names: SEGMENT_NAMES.slice(0, 6),
    waist: [undefined, undefined, undefined, undefined, 'fsBase', 'gsBase'],
  },
  /** In 64-bit mode RIP; elsewhere the linear address CS base + EIP. */
  RIP: { type: 'u64', role: 'architecture', manual: 'SDM 1, 3.5' },
  /** Lazy flags (builder.ts): the last result, sign-extended to 64 bits … After a reset it is 1, so that ZF is clear. */
  FLAG_RESULT: { type: 'u64', role: 'architecture', lazy: true, manual: 'SDM 1, 3.4.3', initial: 1n },
  /** … and what that does not tell: CF bit 31, CF^OF bit 30, AF bit 3, parity difference bits 8-15, sign difference bit 0. */
  FLAG_AUX: { type: 'u32', role: 'architecture', lazy: true, manual: 'SDM 1, 3.4.3' },
  /** RFLAGS without CF PF AF ZF SF OF, which the two fields above hold. Bit 1 is always set. */
  FLAGS_REST: { type: 'u32', role: 'architecture', lazy: true, manual: 'SDM 1, 3.4.3', initial: 2n },
  /** Linear address of the page that the current block lies in. */
  PAGE: { type: 'u64', role: 'scratch' },
  /** Instructions left before the engine must return. */
  FUEL: { type: 'i32', role: 'scratch' },
  /** The decoded record being executed; stored before every call that may ask for the time or fault. */
  RECORD: { type: 'u32', role: 'scratch' },
  /** Not 0: an interrupt waits for IF, or the machine wants attention. */
  ATTENTION: { type: 'u32', role: 'scratch' },
  /** Address of the TLB bank in use. */
  TLB_BASE: { type: 'u32', role: 'derived' },
  /** A fault that a slow path raised: vector | FAULT_SET (state.ts), or 0. The error code and the address follow. */
  FAULT: { type: 'u32', role: 'scratch' },
  FAULT_CODE: { type: 'u32', role: 'scratch' },
  CR2: { type: 'u64', role: 'architecture', manual: 'SDM 3A 2.5', waist: 'cr2' },
});

/** A decoded record names these by one byte and 256, or 512. */
// biome-ignore format: a table
const vectorFields = rows({
  XMM: { type: 'v128', count: 16, role: 'architecture', survivesInit: true, manual: 'SDM 1, 10.2.2' },
  /** Bits 255-128 of YMM0 to YMM15, 256 bytes after the XMM register that is the lower half. */
  YMM_HIGH: { type: 'v128', count: 16, role: 'architecture', survivesInit: true, manual: 'SDM 1, 14.1.1' },
});

// biome-ignore format: a table
const otherFields = rows({
  // x87 (SDM 1, 8.1) and SSE.

  /** Physical registers R0-R7: u64 significand, u16 sign and exponent, padding. */
  FPU_REGISTERS: { type: 'v128', count: 8, role: 'architecture', survivesInit: true, manual: 'SDM 1, 8.1.2' },
  FPU_CONTROL: { type: 'u16', role: 'architecture', survivesInit: true, manual: 'SDM 1, 8.1.5', initial: 0x37fn },
  /** TOP (bits 11-13) is always current. */
  FPU_STATUS: { type: 'u16', role: 'architecture', survivesInit: true, manual: 'SDM 1, 8.1.3' },
  /** Bit n set: physical register n is not empty, as in FXSAVE's abridged tag word. */
  FPU_TAGS: { type: 'u8', role: 'architecture', survivesInit: true, manual: 'SDM 1, 10.5.1.1' },
  FPU_OPCODE: { type: 'u16', role: 'architecture', survivesInit: true, manual: 'SDM 1, 8.1.9' },
  /** The last instruction and its operand: offsets, then selectors. */
  FPU_IP: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 1, 8.1.8' },
  FPU_DP: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 1, 8.1.8' },
  FPU_CS: { type: 'u16', role: 'architecture', survivesInit: true, manual: 'SDM 1, 8.1.8' },
  FPU_DS: { type: 'u16', role: 'architecture', survivesInit: true, manual: 'SDM 1, 8.1.8' },
  MXCSR: { type: 'u32', role: 'architecture', survivesInit: true, manual: 'SDM 1, 10.2.3', initial: 0x1f80n },

  // Control and system registers. CR8 is the local APIC's.

  CR0: { type: 'u64', role: 'architecture', manual: 'SDM 3A 2.5', waist: 'cr0', initial: 0x60000010n },
  CR3: { type: 'u64', role: 'architecture', manual: 'SDM 3A 2.5', waist: 'cr3' },
  CR4: { type: 'u64', role: 'architecture', manual: 'SDM 3A 2.5', waist: 'cr4' },
  /** Added to the clock, it makes what RDTSC reads. It is IA32_TSC_ADJUST, too. */
  TSC_OFFSET: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 3B 18.17.3' },
  EFER: { type: 'u64', role: 'architecture', manual: 'SDM 4, IA32_EFER', waist: 'efer' },
  XCR0: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 3A 2.6', waist: 'xcr0', initial: 1n },
  /** The bits that XCR0 may have. CPUID offers AVX where SSE's and AVX's are among them (cpuid.ts). */
  XCR0_SUPPORTED: {
    type: 'u64', role: 'architecture', survivesInit: true, survivesReset: true, manual: 'SDM 1, 13.2', initial: 3n,
  },
  DR: {
    type: 'u64', count: 6, role: 'architecture', manual: 'SDM 3B 17.2',
    names: ['DR0', 'DR1', 'DR2', 'DR3', 'DR6', 'DR7'], waist: ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'],
    initial: [0n, 0n, 0n, 0n, 0xffff0ff0n, 0x400n],
  },
  KERNEL_GS_BASE: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_KERNEL_GS_BASE', waist: 'kernelGsBase' },
  STAR: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_STAR', waist: 'star' },
  LSTAR: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_LSTAR', waist: 'lstar' },
  CSTAR: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_CSTAR', waist: 'cstar' },
  FMASK: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_FMASK', waist: 'fmask' },
  SYSENTER_CS: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_SYSENTER_CS' },
  SYSENTER_ESP: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_SYSENTER_ESP' },
  SYSENTER_EIP: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_SYSENTER_EIP' },
  TSC_AUX: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_TSC_AUX', waist: 'tscAux' },
  PAT: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4, IA32_PAT', waist: 'pat', initial: 0x0007040600070406n },
  GDT_BASE: { type: 'u64', role: 'architecture', manual: 'SDM 3A 2.4', waist: 'gdtBase' },
  IDT_BASE: { type: 'u64', role: 'architecture', manual: 'SDM 3A 2.4', waist: 'idtBase' },
  GDT_LIMIT: { type: 'u32', role: 'architecture', manual: 'SDM 3A 2.4', waist: 'gdtLimit', initial: 0xffffn },
  IDT_LIMIT: { type: 'u32', role: 'architecture', manual: 'SDM 3A 2.4', waist: 'idtLimit', initial: 0xffffn },
  /** Current privilege level. */
  CPL: { type: 'u32', role: 'architecture', manual: 'SDM 3A 5.5' },
  /** Code size of the current CS: 16, 32 or 64. */
  MODE: { type: 'u32', role: 'derived' },
  /** Stack-pointer mask: 0xffff, 0xffffffff or all ones. */
  STACK_MASK: { type: 'u64', role: 'derived' },
  SELECTOR: { type: 'u16', count: 8, stride: 4, role: 'architecture', manual: 'SDM 3A 3.4.2', names: SEGMENT_NAMES },
  /** In bytes. */
  SEGMENT_LIMIT: {
    type: 'u32', count: 8, role: 'architecture', manual: 'SDM 3A 3.4.3', names: SEGMENT_NAMES, initial: 0xffffn,
  },
  /** As a descriptor's second word has them (src/x86/descriptors.ts); 0 in a null segment. */
  SEGMENT_ATTRIBUTES: {
    type: 'u32', count: 8, role: 'architecture', manual: 'SDM 3A 3.4.3', names: SEGMENT_NAMES,
    initial: [0x9300n, 0x9300n, 0x9300n, 0x9300n, 0x9300n, 0x9300n, 0x8200n, 0x8b00n],
  },
  LDT_BASE: { type: 'u64', role: 'architecture', manual: 'SDM 3A 2.4', waist: 'ldtBase' },
  TR_BASE: { type: 'u64', role: 'architecture', manual: 'SDM 3A 2.4', waist: 'trBase' },
  /** Address of the next instruction, after STI and MOV SS: no interrupt before that one has been executed. 0: none. */
  INTERRUPT_SHADOW: { type: 'u64', role: 'architecture', manual: 'SDM 3A 6.8.1, 6.8.3' },
  /** The same address, after MOV SS and POP SS alone: no debug trap before that instruction has been executed. */
  TRAP_SHADOW: { type: 'u64', role: 'architecture', manual: 'SDM 3A 6.8.3' },
  /** Bits of DR6: debug traps that are due, and come as one #DB at the next boundary that nothing holds them off at. */
  PENDING_DEBUG: { type: 'u32', role: 'architecture', manual: 'SDM 3C 25.4.2' },
  /** Not 0: NMI is held off until IRET. */
  NMI_BLOCKED: { type: 'u32', role: 'architecture', manual: 'SDM 3A 6.7.1' },
  /** Not 0: an NMI waits to be delivered. */
  NMI_PENDING: { type: 'u32', role: 'architecture', manual: 'SDM 3A 6.7' },
  /** Whether instructions are executed: ACTIVE, HALTED, IDLE, INITIALISED or STOPPED (state.ts). */
  ACTIVITY: { type: 'u32', role: 'architecture', manual: 'SDM 3C 24.4.2' },

  // MSRs that are kept, and whose effect nobody can see here (msrs.ts).

  IA32_SPEC_CTRL: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4' },
  IA32_MCG_STATUS: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4' },
  IA32_DEBUGCTL: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4' },
  IA32_MTRR_DEF_TYPE: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 4', initial: 0xc06n },
  /** IA32_MTRR_FIX64K_00000, FIX16K_80000, FIX16K_A0000, then FIX4K_C0000 to FIX4K_F8000. */
  IA32_MTRR_FIX: { type: 'u64', count: 11, role: 'architecture', survivesInit: true, manual: 'SDM 4', initial: 0x0606060606060606n },
  IA32_MTRR_PHYSBASE: { type: 'u64', count: 8, role: 'architecture', survivesInit: true, manual: 'SDM 4' },
  IA32_MTRR_PHYSMASK: { type: 'u64', count: 8, role: 'architecture', survivesInit: true, manual: 'SDM 4' },
  SYSCFG: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'AMD APM 2, 3.2.4' },
  HWCR: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'AMD APM 2, 3.2.10' },
  NB_CFG: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'AMD BKDG' },
  LS_CFG_2: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'AMD BKDG' },
  LS_CFG: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'AMD BKDG' },
  DC_CFG: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'AMD BKDG' },
  BU_CFG: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'AMD BKDG' },
  DE_CFG: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'AMD BKDG' },

  /** RDRAND and RDSEED: how far the sequence of their numbers has come. */
  RANDOM_SEED: { type: 'u64', role: 'architecture', survivesInit: true, manual: 'SDM 1, 7.3.17' },

  // Derived from the above.

  /** Not 0: an instruction of that unit raises #NM (7) or #UD (6) first. */
  UNIT_TRAP: { type: 'u32', count: 4, role: 'derived', names: ['x87', 'MMX', 'SSE', 'AVX'] },
  /** Not 0: data breakpoints are armed, or a debugger watches memory (bits: control.ts), so no access may take the fast path. */
  WATCHING: { type: 'u32', role: 'derived' },
  /** Bit n: segment n (ES to GS) is flat (Cpu.noteSegment), so that translated 32-bit code may use it unchecked. */
  FLAT: { type: 'u32', role: 'derived' },

  // The engine's.

  /** Addresses of the TLB banks, by access class: user; kernel; kernel with RFLAGS.AC set (the second's without SMAP). */
  CLASS_BASE: { type: 'u32', count: 3, role: 'engine' },
  /** Address of the notes of the set of TLB banks in use (layout.ts). */
  NOTES: { type: 'u32', role: 'engine' },
  /** The address space of each set of TLB banks (tlb.ts), when it was used last, and which one is in use. */
  SPACE_OWNER: { type: 'f64', count: 8, role: 'engine' },
  SPACE_USED: { type: 'f64', count: 8, role: 'engine' },
  SPACE_TICK: { type: 'f64', role: 'engine' },
  SPACE_CURRENT: { type: 'u32', role: 'engine' },
  /** Address of the processor's cells (paravirt/fast-paths.ts). */
  CELLS: { type: 'u32', role: 'engine' },
  /** Address of the block table of the current code size. */
  BLOCK_BASE: { type: 'u32', role: 'engine' },
  /** The engine is told (EXIT_HOT) when none of these bits is set in the number of times that a block has been entered. */
  VISITS_MASK: { type: 'u32', role: 'engine' },
  /** Not 0: the budget's last instructions are to be executed, by the interpreter; 0: stop a little early. */
  EXACT: { type: 'u32', role: 'engine' },
  /** Which events translated code may deal with itself, since nobody wants to see them first: NATIVE_ bits (state.ts). */
  NATIVE: { type: 'u32', role: 'engine' },
  /** Not 0: PAUSE ends the run, because another processor can use the time. */
  PAUSE_ENDS: { type: 'u32', role: 'engine' },
  /** Events delivered so far, interrupts included. */
  DELIVERIES: { type: 'u32', role: 'engine' },
  /** Instructions executed once FUEL has come down to 0. Less FUEL: those executed so far. */
  GOAL: { type: 'f64', role: 'engine' },
  /** Exceptions delivered so far. The last of them are in RECENT, a ring (exceptions.ts). */
  EXCEPTIONS: { type: 'u32', role: 'engine' },
  RECENT: { type: 'u8', count: 2048, role: 'engine', align: 64 },

  // Between two parts of one instruction.

  /**
   * Linear address of a page that may be written although the page tables have it read-only (Vcpu.stepWithWritable). All ones:
   * there is none.
   */
  WRITABLE_PAGE: { type: 'u64', role: 'scratch', initial: 0xffffffffffffffffn },

  /** Arguments and result of a helper. */
  ARGUMENT: { type: 'u64', count: 6, role: 'scratch' },
  RESULT: { type: 'u64', count: 2, role: 'scratch' },
  /** Of vector helpers: three operands and the result. */
  VECTOR: { type: 'v128', count: 4, role: 'scratch' },
  /** For 128-bit accesses on the slow path. */
  SLOW_VECTOR: { type: 'v128', role: 'scratch' },
  /** Guest-physical address of the last slow translation. */
  PHYSICAL: { type: 'u64', role: 'scratch' },
  /** Between the two halves of an x87 store (x87/transfer.ts): the status word to come, and whether memory is written. */
  FPU_PENDING: { type: 'u32', role: 'scratch' },
  FPU_WRITES: { type: 'u32', role: 'scratch' },
  /** Not 0: the last operation of checked-floats.ts met or made a denormal number. */
  FLOAT_DENORMAL: { type: 'u32', role: 'scratch' },
  /**
   * Which lane of 128 bits a float instruction on 256 is at (1 or 2, else 0), and the exceptions that the first one has found: both
   * lanes raise theirs together (sse-float/unit.ts).
   */
  FLOAT_LANE: { type: 'u32', role: 'scratch' },
  FLOAT_PENDING: { type: 'u32', role: 'scratch' },
  /** Between two regions of translated code only: what the flags follow from, with FLAG_RESULT (lazy-flags.ts). */
  FLAG_KIND: { type: 'u32', role: 'scratch' },
  FLAG_X: { type: 'u64', role: 'scratch' },
  /** Where helpers put, or find, an image that goes to or comes from memory (FNSTENV, FNSAVE, FXSAVE …). */
  FPU_IMAGE: { type: 'u8', count: 768, role: 'scratch', align: 16 },
});

/** The sections of the state, in the order in which they stand; [from, to) in bytes. */
const SECTIONS: readonly { from: number; to: number; fields: Rows }[] = [
  { from: 0, to: 0x100, fields: recordFields },
  { from: 0x100, to: 0x300, fields: vectorFields },
  { from: 0x300, to: 0x1a00, fields: otherFields },
];

export const FIELDS = { ...recordFields, ...vectorFields, ...otherFields };
export type FieldName = keyof typeof FIELDS;

export const sizeOf = (field: Field): number => SIZES[field.type];
export const strideOf = (field: Field): number => field.stride ?? sizeOf(field);

/**
 * Gives each field its offset: in the order of the rows, aligned to its size.
 * @throws if a section is too small for its fields
 */
export function layOut(sections: readonly { from: number; to: number; fields: Rows }[]): Record<string, number> {
  const offsets: [string, number][] = [];
  for (const { from, to, fields } of sections) {
    let next = from;
    for (const [name, field] of Object.entries(fields)) {
      const align = Math.max(field.align ?? 1, sizeOf(field));
      const offset = Math.ceil(next / align) * align;
      next = offset + strideOf(field) * (field.count ?? 1);
      if (next > to) throw new Error(`state: ${name} does not fit below 0x${to.toString(16)}, where its section ends`);
      offsets.push([name, offset]);
    }
  }
  return Object.fromEntries(offsets);
}

/** Offset of each field, in bytes from a processor's base. Frozen: V8 takes its values for constants. */
export const OFFSETS = Object.freeze(layOut(SECTIONS)) as { readonly [Name in FieldName]: number };
/** Where the last section ends. */
export const STATE_SIZE = Math.max(...SECTIONS.map(section => section.to));
