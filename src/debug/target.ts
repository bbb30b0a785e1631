/** What a debugger needs of a machine (`Machine.debug`): processors' registers, memory, breakpoints, single steps. */

/** A register as a debugger sees it. Its number is its place in `Target.registers`. */
export interface TargetRegister {
  /** As gdb's features name it. */
  readonly name: string;
  readonly bits: number;
  /** A type of gdb's target descriptions. */
  readonly type: string;
  /** The feature that it is part of. */
  readonly feature: string;
}

/** Accesses to memory that a watchpoint is for. */
export type WatchedAccess = 'write' | 'read' | 'access';

/** Why the guest stands still. `processor` is the one that was stopped. */
export type StopReason =
  /** Nothing is known of what was before, or the guest has ended. */
  | { readonly kind: 'beginning' | 'end'; readonly processor: number }
  | { readonly kind: 'breakpoint' | 'step'; readonly processor: number }
  | {
      readonly kind: 'watchpoint';
      readonly processor: number;
      readonly watched: WatchedAccess;
      readonly address: bigint;
    };

/** The way back of a machine whose run repeats. Instructions count as all processors execute them, one after the other. */
export interface History {
  /** The history begins with the next call of `run`; without, nothing is kept of it. */
  keep(on: boolean): void;
  /** The run is a recording's, and that has ended. */
  readonly isOver: boolean;
  /**
   * Takes the last instruction back; or all that were executed since the last stop, which is a breakpoint before its instruction, or a watched access
   * that is about to be made. `takeStop` then says which.
   * @returns 'beginning': there was no stop, and the guest stands where its history begins. 'interrupted': somebody has stopped the machine,
   * and the guest stands where it stood
   * @throws Error if the run does not repeat
   */
  back(how: 'step' | 'continue'): Promise<'stopped' | 'beginning' | 'interrupted'>;
}

/** Addresses are linear: where segments have bases, those are in them, and RIP is the linear address of the instruction. */
export interface Target {
  readonly registers: readonly TargetRegister[];
  /** How many processors there are. They count from 0. */
  readonly processors: number;
  /** The processor that executes, or did last. */
  readonly current: number;
  /** Undefined: this machine cannot go back. */
  readonly history?: History;
  /** Why `run` has returned, if a breakpoint or a step is the reason; asking takes it back. */
  takeStop(): StopReason | undefined;
  /** Little-endian. Undefined where there is no such register. */
  readRegister(processor: number, register: number): Uint8Array | undefined;
  /** @returns false if that register cannot have the value */
  writeRegister(processor: number, register: number, value: Uint8Array): boolean;
  /** As much of [address, address + length) as is mapped to RAM, from its beginning on. Changes nothing. */
  readMemory(processor: number, address: bigint, length: number): Uint8Array;
  /** Whatever the page tables permit. @returns false, and nothing is written, if not all of it is mapped to RAM */
  writeMemory(processor: number, address: bigint, bytes: Uint8Array): boolean;
  /** What the guest stops for when it goes on. */
  setBreakpoints(
    addresses: ReadonlySet<bigint>,
    watchpoints: readonly { readonly kind: WatchedAccess; readonly address: bigint; readonly length: number }[],
  ): void;
  /**
   * Executes one instruction of a processor, the others none; where there is a history, the others execute as their turns come.
   * @returns false if it executes nothing now (HLT): `run` then returns after its next instruction
   */
  step(processor: number): boolean;
  /** What a processor does, in a few words. */
  activity(processor: number): string;
  /** For people: all registers; how often each op was asked. */
  describe(): string;
  operations(): string;
}
