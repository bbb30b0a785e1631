/**
 * What a hypervisor sees of one virtual processor: registers by the manuals' names, the guest's memory through the
 * guest's own page tables, and the means to make something happen. The engine fulfils it; nothing here says how.
 */

import type { Clock } from '../host/clock.ts';
import type { Log } from '../host/log.ts';
import type { GuestMemory } from '../memory/memory.ts';

/**
 * 64-bit registers. `flags` is RFLAGS whole. Reading gsBase gives the active one. Binaries name a register by its place
 * in this list (docs/write-a-hypervisor.md): a new one goes to the end.
 */
// biome-ignore format: a table
export const REGISTERS = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
  'rip', 'flags', 'cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7',
  'fsBase', 'gsBase', 'kernelGsBase', 'star', 'lstar', 'cstar', 'fmask',
  'gdtBase', 'gdtLimit', 'idtBase', 'idtLimit', 'ldtBase', 'trBase', 'xcr0', 'pat', 'tscAux',
] as const;
export type RegisterName = (typeof REGISTERS)[number];

/** Segment registers, with the manuals' numbers first (SDM 2A, 2.1.5); also by their place, for binaries. */
export const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;
export type SegmentName = (typeof SEGMENTS)[number];

/** A segment register with its hidden part. `attributes` as a descriptor's second word has them (type 8-11 … G 23). */
export interface Segment {
  selector: number;
  base: bigint;
  /** In bytes. */
  limit: number;
  attributes: number;
}

/** An exception on its way to the guest (SDM 3A 6.15). */
export interface Exception {
  vector: number;
  /** Pushed error code, where the vector has one. */
  code?: number;
  /** The faulting linear address, for #PF. */
  address?: bigint;
}

export interface Processor {
  readonly id: number;
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly log: Log;
  /** The time-stamp counter: what it is now, and at a time of the clock's. */
  readonly tsc: { read(): bigint; at(time: number): bigint; readonly frequency: number };

  get(register: RegisterName): bigint;
  /** Stores raw: no architectural check, but everything the engine caches of it (paging mode, TLB) follows. */
  set(register: RegisterName, value: bigint): void;
  segment(name: SegmentName): Segment;
  setSegment(name: SegmentName, value: Segment): void;
  /** CELLS words of the hypervisor's, which its fast paths reach too (fast-paths.ts). 0 at the start; no part of a snapshot. */
  readonly cells: Uint32Array;
  /** Current privilege level, 0-3. */
  readonly cpl: number;
  /** Code size: 16, 32 or 64. */
  readonly mode: number;

  /**
   * Guest-virtual to guest-physical by the current page tables with supervisor (default) or user rights.
   * @returns the physical address, or the exception the access would raise.
   */
  translate(linear: bigint, access?: { write?: boolean; user?: boolean; execute?: boolean }): number | Exception;
  /** Copies guest-virtual memory out; undefined if any byte of it is not accessible (with the rights given). */
  read(linear: bigint, length: number, access?: { user?: boolean }): Uint8Array | undefined;
  /** Copies in, all or nothing; false if any byte is not writable. */
  write(linear: bigint, data: Uint8Array, access?: { user?: boolean }): boolean;

  /** Delivers an exception the architectural way, through the IDT. Inside an op this ends the current instruction. */
  raise(exception: Exception): void;
  /** Delivers an external interrupt through the IDT, whatever IF says. */
  interrupt(vector: number): void;
  /** Drops one page's translations, under every root of which any are held. */
  invalidatePage(linear: bigint): void;
  /** Drops all translations of the current address space (`global`: all there are, under every root). */
  flush(global: boolean): void;
  /**
   * Loads a root without flushing: translations made under that root, if any are still held, count as valid. For
   * hypervisors that see every page-table change.
   */
  switchRoot(cr3: bigint): void;
  /** Drops translations held for `cr3` (a root that is being freed or whose entries changed). */
  flushRoot(cr3: bigint): void;
  /**
   * Executes exactly one instruction at RIP with `page` (guest-physical, 4096-aligned) writable whatever the page
   * tables say; true if it retired, false if it raised an exception (which has been delivered). For hypervisors that
   * complete writes to write-protected page tables.
   */
  stepWithWritable(page: number): boolean;
  /**
   * Stops executing until an interrupt or `wake`.
   * @param untilPending true: an interrupt that RFLAGS.IF keeps out ends it, too
   */
  halt(untilPending?: boolean): void;
  /** True while it executes nothing because of a halt, or because it waits to be started. */
  readonly halted: boolean;
  /** Ends a halt, even with RFLAGS.IF clear. Nothing is remembered: a processor that is not halted yet halts later. */
  wake(): void;
  /** Asks the engine to call `irq.deliver` at the next instruction boundary. */
  attention(): void;

  /**
   * False while it executes nothing, whatever interrupts come, because it waits to be started: all but the first do when
   * the machine starts.
   */
  readonly started: boolean;
  /** It executes, from its registers on, as they are: whoever starts it has set them. It may have been started before. */
  start(): void;
  /**
   * It executes nothing after the present instruction, until it is started: by `start`, or by INIT and a start-up message
   * of a local APIC.
   */
  stop(): void;
  /** It has the turn: it, and no other, executes now. */
  readonly running: boolean;
  /** The rest of its turn is other processors': it can only wait for them. Without others that can execute it goes on. */
  yield(): void;
  /**
   * Nanoseconds of guest time in which it could have executed and others did, or nobody did, because the host had one
   * thread for all or the schedule would have it so. `time.resumed` tells of it, too, a while later.
   */
  readonly waited: number;
  /** A non-maskable interrupt. */
  nmi(): void;
  /** For the counts alone: an interrupt has come to it that a processor, another one or itself, has sent. */
  noteIpi(): void;

  /** The local interrupt controller; undefined where the platform has none. */
  readonly interrupts: InterruptSource | undefined;
  /** The guest asked the impossible: ends its run. The first reason wins. */
  kill(reason: string): void;
  /** The guest asked for it: ends the run in an orderly way. */
  request(what: 'power-off' | 'reset' | 'crash', reason?: string): void;
}

/** The local APIC together with the 8259s, as the processor's INTR pin shows them. */
export interface InterruptSource {
  /** The APIC id, by which other processors address it. */
  readonly id: number;
  /** True if a maskable interrupt could be delivered now (RFLAGS.IF aside). */
  pending(): boolean;
  /** Takes the interrupt: moves it from requested to in service. @returns its vector, or -1 if it has gone. */
  acknowledge(): number;
  /** Requests a fixed, edge-triggered interrupt at the local APIC. */
  request(vector: number): void;
  /**
   * A message of another processor's arrives, with its delivery mode and trigger as the interrupt command register encodes
   * them (SDM 3A 11.6.1).
   * @returns false if it is dropped: the APIC is off, or has no such mode
   */
  accept(mode: number, vector: number, level: boolean): boolean;
  /** As a write to the EOI register. */
  endOfInterrupt(): void;
  /**
   * After `acknowledge`: true if skipping this interrupt's EOI register write would go unnoticed until it is done
   * later.
   */
  canDeferEndOfInterrupt(): boolean;
  /** The task-priority register, 0-255. */
  taskPriority: number;
  /** The interrupt command register, its upper word (the destination) as the present mode has it. Writing it sends. */
  interruptCommand: bigint;
}
