/**
 * Fast paths: what a hypervisor answers in WebAssembly, because its guests ask all the time. A path does all of an ordinary
 * case, or it refuses and has changed nothing: then the op is asked as ever. So the op alone says what is right, and a path
 * is nothing that a guest can tell from it.
 *
 * A hypervisor's table brings functions that write the code (`FastPaths`); the engine hands them the words to write it with
 * (`PathCode`) and calls what comes of it. Nobody else takes part, so a traced hypervisor, or one whose ops are replaced, has
 * none.
 */
import type { Code, Value } from '../wasm/code.ts';
import type { RegisterName } from './processor.ts';

/** What loads and stores of notes and cells do not share with those of the guest's memory (`Code.fetch`, `Code.put`). */
export const NOTES = 'notes';
/** 32-bit words of `Processor.cells`. */
export const CELLS = 128;

export interface FastPaths {
  /** In place of `cpu.syscall`, of 64-bit code. @param next the address behind the SYSCALL (i64): RIP, RCX and R11 are as before it */
  syscall?(path: PathCode, next: Value): void;
  /**
   * In place of `mmu.pageFault` and `irq.exception`, in 64-bit code. RIP is what a frame shows, RFLAGS.RF too. A path that has executed
   * the instruction in the guest's place clears RF.
   */
  exception?(path: PathCode, exception: PathException): void;
}

export interface PathException {
  /** i32. */
  vector: Value;
  /** The error code (i32); means nothing where the vector has none. */
  code: Value;
  /** CR2 (i64), where a page fault has put its address. */
  address: Value;
}

/** Registers that a path reaches: those of the waist that are no more than a value. */
export type PathRegister = Exclude<
  RegisterName,
  'cr0' | 'cr3' | 'cr4' | 'cr8' | 'efer' | 'dr0' | 'dr1' | 'dr2' | 'dr3' | 'dr6' | 'dr7'
>;

/** An address space whose translations the TLB has kept: see `PathCode.space`. */
export interface PathSpace {
  readonly cr3: Value;
  readonly index: Value;
}

export interface PathSegment {
  /** i32, i64, i32, i32: as in `Segment`. */
  selector: Value;
  base: Value;
  limit: Value;
  attributes: Value;
}

/** The words of a path, for the processor that executes. Addresses in memory are i32, and offsets are added to them. */
export interface PathCode {
  /** All of WebAssembly. */
  readonly code: Code;
  /** Does nothing, and has the op asked, if `condition` holds. Only before the first change. */
  refuseIf(condition: Value): void;

  /** A register, i64. */
  get(register: PathRegister): Value;
  set(register: PathRegister, value: Value): void;
  /** General register 0 to 15 (i32), as instructions number them: i64. */
  general(number: Value): Value;
  setGeneral(number: Value, value: Value): void;
  /** i32. */
  selector(name: 'cs' | 'ss'): Value;
  /** CS and SS: flat segments of the same code size and privilege level as those that are loaded. GS: any. */
  setSegment(name: 'cs' | 'ss' | 'gs', segment: PathSegment): void;

  /** Word `index` of the processor's cells, i32; two words as i64, the lower one first. */
  cell(index: number): Value;
  cell64(index: number): Value;
  setCell(index: number, value: Value): void;
  setCell64(index: number, value: Value): void;

  /** Where byte `offset` (i32) of `GuestMemory.notes` is. Loads and stores there name NOTES as their place. */
  notes(offset: Value): Value;
  /** Pages of RAM. */
  readonly pages: number;
  /** As `Processor.invalidatePage`. */
  invalidatePage(linear: Value): void;

  /** The address space of a root; refuses one of which the TLB has nothing. */
  space(cr3: Value): PathSpace;
  /** As `Processor.switchRoot`. */
  switchTo(space: PathSpace): void;
  /**
   * Where `size` bytes at a linear address are, by the translations and rights of the present level that the TLB has; refuses
   * all others, bytes of two pages, and pages that are no plain memory. @param space another address space than the present one
   */
  reach(linear: Value, size: number, access: 'read' | 'write' | 'execute', space?: PathSpace): Value;
  /** Where a guest-physical address (i32) of RAM is; refuses a page that code has been translated from. */
  physical(address: Value): Value;

  /** Of `exception`, which ends here: `mmu.pageFault` answers true. There was none for the guest to hear of. */
  dealtWith(): void;

  /** Counts an op as answered, and the hypercall of that number as made. */
  count(operation: string, hypercall?: number): void;
}
