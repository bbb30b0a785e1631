/** Bare hardware: time is the TSC, an interrupt's end a write to the local APIC. */
import type { GuestHalf } from '../../conformance/guest-half.ts';

export const bareHalf: GuestHalf = {
  clock:
    ({ cpu }) =>
    () =>
      (cpu.tsc.read() * 1_000_000_000n) / BigInt(cpu.tsc.frequency),
  settingTsc: 'the time-stamp counter is the clock',
  interrupts:
    ({ cpu }) =>
    () =>
      cpu.interrupts!.endOfInterrupt(),
};
