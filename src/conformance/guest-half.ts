/**
 * The guest's side of an interface, as far as the conformance suite needs it: what a kernel would do to read the time
 * or to end an interrupt there. A hypervisor without a half of its own is asked only what can be asked of every one.
 */
import type { Fixture } from './fixture.ts';

export interface GuestHalf {
  /** Sets the interface's clock up. @returns what reads it: nanoseconds since the machine's start. */
  clock?(fixture: Fixture): () => bigint;
  /** Why a guest that sets its time-stamp counter may see this clock jump, or cannot set it. */
  settingTsc?: string;
  /** What the clock counts in, in nanoseconds, where it is more than one. */
  resolution?: number;
  /** The wall-clock time of the machine's start, in nanoseconds since the Unix epoch. */
  wallClock?(fixture: Fixture): bigint;
  /** Interrupts other processors, and perhaps itself, by a hypercall. @param targets numbers of processors */
  sendIpi?(fixture: Fixture, targets: readonly number[], vector: number): void;
  /** Prepares for interrupts. @returns what a handler does at its end. */
  interrupts?(fixture: Fixture): () => void;
  /** Makes a hypercall, where the number is not in RAX. @returns its result, negative for an error. */
  hypercall?(fixture: Fixture, number: bigint, values: readonly bigint[]): bigint;
}
