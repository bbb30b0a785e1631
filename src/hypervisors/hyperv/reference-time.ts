/**
 * Reference time (TLFS chapter 12): units of 100 ns since the machine's start, from a register, or from a page of the
 * guest's that says how to make it of the TSC. The TSC runs with the clock, so that the page holds until the guest sets one.
 */
import { APIC_TIMER_FREQUENCY } from '../../devices/apic-timer.ts';
import type { Clock } from '../../host/clock.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { isUsable, pageOf } from './pages.ts';

const HV_X64_MSR_TIME_REF_COUNT = 0x40000020;
const HV_X64_MSR_REFERENCE_TSC = 0x40000021;
const HV_X64_MSR_TSC_FREQUENCY = 0x40000022;
const HV_X64_MSR_APIC_FREQUENCY = 0x40000023;

/** Nanoseconds. */
export const REFERENCE_UNIT = 100;
const UNITS_A_SECOND = 10_000_000n;
/** TscSequence: another one each time that the page is written. 0 means that it is not valid, as 0xffffffff once did. */
const INVALID = 0;
const LAST_SEQUENCE = 0xfffffffe;

/**
 * The reference TSC page: ReferenceTime = (TSC * TscScale >> 64) + TscOffset. Sequence at 0, scale at 8, offset at 16.
 */
const SCALE = 8;
const OFFSET = 16;

/** The reference time of now, in units. */
export function referenceTime(clock: Clock): bigint {
  return BigInt(Math.floor(clock.now() / REFERENCE_UNIT));
}

/** The registers of reference time, by number, and what keeps the page true when the guest sets its TSC. */
export function createReferenceTime(context: HypervisorContext) {
  const { memory, clock } = context;
  const state = context.state('hyperv/reference-time', 2, () => ({ referenceTsc: 0n, sequence: 0 }));

  function writePage(page: number, { tsc }: Processor): void {
    // Rounded up: rounded down, whole units would come out one too small.
    const frequency = BigInt(tsc.frequency);
    const scale = ((UNITS_A_SECOND << 64n) + frequency - 1n) / frequency;
    const now = clock.now();
    const reference = BigInt(Math.floor(now / REFERENCE_UNIT));
    state.sequence = (state.sequence % LAST_SEQUENCE) + 1;
    memory.write32(page, INVALID);
    memory.write64(page + SCALE, scale);
    memory.write64(page + OFFSET, BigInt.asUintN(64, reference - ((tsc.at(now) * scale) >> 64n)));
    memory.write32(page, state.sequence);
  }

  const msrs: Readonly<Record<number, Msr>> = {
    [HV_X64_MSR_TIME_REF_COUNT]: { name: 'HV_X64_MSR_TIME_REF_COUNT', read: () => referenceTime(clock) },
    [HV_X64_MSR_REFERENCE_TSC]: {
      name: 'HV_X64_MSR_REFERENCE_TSC',
      read: () => state.referenceTsc,
      write(cpu, value) {
        if (!isUsable(memory, value)) return false;
        state.referenceTsc = value;
        const page = pageOf(value);
        if (page !== undefined) writePage(page, cpu);
        return true;
      },
    },
    [HV_X64_MSR_TSC_FREQUENCY]: { name: 'HV_X64_MSR_TSC_FREQUENCY', read: cpu => BigInt(cpu.tsc.frequency) },
    [HV_X64_MSR_APIC_FREQUENCY]: { name: 'HV_X64_MSR_APIC_FREQUENCY', read: () => BigInt(APIC_TIMER_FREQUENCY) },
  };
  return {
    msrs,
    tscMoved(cpu: Processor): void {
      const page = pageOf(state.referenceTsc);
      if (page !== undefined) writePage(page, cpu);
    },
  };
}
