/**
 * Reference time (TLFS chapter 12): units of 100 ns since the machine's start, from a register, or from a page of the
 * guest's that says how to make it of the TSC. Since our TSC is the clock's time multiplied, that page is written once.
 */
import { APIC_TIMER_FREQUENCY } from '../../devices/apic-timer.ts';
import type { Clock } from '../../host/clock.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { isUsable, pageOf } from './pages.ts';

const HV_X64_MSR_TIME_REF_COUNT = 0x40000020;
const HV_X64_MSR_REFERENCE_TSC = 0x40000021;
const HV_X64_MSR_TSC_FREQUENCY = 0x40000022;
const HV_X64_MSR_APIC_FREQUENCY = 0x40000023;

/** Nanoseconds. */
export const REFERENCE_UNIT = 100;
const UNITS_A_SECOND = 10_000_000n;
/** TscSequence: 0 means that the page is not valid. */
const VALID = 1;

/**
 * The reference TSC page: ReferenceTime = (TSC * TscScale >> 64) + TscOffset. Sequence at 0, scale at 8, offset at 16.
 */
const SCALE = 8;
const OFFSET = 16;

/** The reference time of now, in units. */
export function referenceTime(clock: Clock): bigint {
  return BigInt(Math.floor(clock.now() / REFERENCE_UNIT));
}

/** The registers of reference time, by number. */
export function createReferenceTime(context: HypervisorContext): Readonly<Record<number, Msr>> {
  const { memory, clock } = context;
  const state = context.state('hyperv/reference-time', 1, () => ({ referenceTsc: 0n }));
  return {
    [HV_X64_MSR_TIME_REF_COUNT]: { name: 'HV_X64_MSR_TIME_REF_COUNT', read: () => referenceTime(clock) },
    [HV_X64_MSR_REFERENCE_TSC]: {
      name: 'HV_X64_MSR_REFERENCE_TSC',
      read: () => state.referenceTsc,
      write(cpu, value) {
        if (!isUsable(memory, value)) return false;
        state.referenceTsc = value;
        const page = pageOf(value);
        if (page === undefined) return true;
        // Rounded up: rounded down, whole units would come out one too small.
        const frequency = BigInt(cpu.tsc.frequency);
        const scale = ((UNITS_A_SECOND << 64n) + frequency - 1n) / frequency;
        memory.write32(page, 0);
        memory.write64(page + SCALE, scale);
        memory.write64(page + OFFSET, BigInt.asUintN(64, referenceTime(clock) - ((cpu.tsc.read() * scale) >> 64n)));
        memory.write32(page, VALID);
        return true;
      },
    },
    [HV_X64_MSR_TSC_FREQUENCY]: { name: 'HV_X64_MSR_TSC_FREQUENCY', read: cpu => BigInt(cpu.tsc.frequency) },
    [HV_X64_MSR_APIC_FREQUENCY]: { name: 'HV_X64_MSR_APIC_FREQUENCY', read: () => BigInt(APIC_TIMER_FREQUENCY) },
  };
}
