/**
 * What a hypervisor that stands on another one wants of that: the guest's half of the interface below it, as its kernel would
 * have it. Bare hardware's answers are the default; the folder of a hypervisor that can be stood on states differences
 * (`services.ts` there).
 */
import type { HypervisorContext, Paravirt } from './operations.ts';
import type { Processor } from './processor.ts';

/** Each is asked on behalf of the processor that executes it. */
export interface Services {
  /** Readies the processor, before anything else is asked on it. */
  initialise(cpu: Processor): void;
  /** Nanoseconds since the machine's start. */
  now(cpu: Processor): number;
  /** Nanoseconds since the Unix epoch when `now` was 0. */
  epoch(cpu: Processor): bigint;
  /** The interrupt `timer` comes to the processor when `now` has reached `at`, or earlier; undefined: not at all. */
  setTimer(cpu: Processor, at: number | undefined): void;
  endOfInterrupt(cpu: Processor): void;
  sendIpi(cpu: Processor, target: Processor, vector: number): void;
  /** Has a processor that waits to be started execute. */
  startProcessor(cpu: Processor, target: Processor): void;
  /** Others may have the rest of the processor's turn. */
  yield(cpu: Processor): void;
  halt(cpu: Processor): void;
  writeConsole(cpu: Processor, data: Uint8Array): void;
  /** What has been typed; the interrupt `console` says that there is something. */
  readConsole(cpu: Processor): Uint8Array;
  powerOff(cpu: Processor): void;
  reset(cpu: Processor): void;
}

/** Vectors of the interrupts that come from below. */
export const SERVICE_VECTORS = { console: 0xe0, timer: 0xec, wake: 0xed } as const;

export interface Below {
  context: HypervisorContext;
  /** The table of the hypervisor that is stood on. */
  base: Paravirt;
  /** Guest-physical address of a page of the upper hypervisor's own, by number: two, and one for each processor. */
  page(number: number): number;
}

/** How many pages `Below.page` has. */
export const servicePages = (processors: number): number => 2 + processors;

export type MakeServices = (below: Below, native: Services) => Partial<Services>;
