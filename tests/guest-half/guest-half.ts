/**
 * The guest's side of an interface, as far as the conformance suite needs it: what a kernel would do to read the time or to end
 * an interrupt there. A hypervisor without a half of its own is asked only what can be asked of every one.
 */
import type { Fixture } from '../conformance.ts';
import { bareHalf } from './bare.ts';
import { kvmHalf } from './kvm.ts';
import { xenPvHalf } from './xen-pv.ts';
import { xenPvhHalf } from './xen-pvh.ts';

export interface GuestHalf {
  /** Sets the interface's clock up. @returns what reads it: nanoseconds since the machine's start. */
  clock?(fixture: Fixture): () => bigint;
  /** The wall-clock time of the machine's start, in nanoseconds since the Unix epoch. */
  wallClock?(fixture: Fixture): bigint;
  /** Prepares for interrupts. @returns what a handler does at its end. */
  interrupts?(fixture: Fixture): () => void;
}

export const guestHalves: Readonly<Record<string, GuestHalf>> = {
  bare: bareHalf,
  kvm: kvmHalf,
  'xen-pvh': xenPvhHalf,
  'xen-pv': xenPvHalf,
};
