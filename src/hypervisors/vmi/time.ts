/**
 * The timer calls: counters of cycles, alarms on them, and the time of day. A cycle is a tick of the time-stamp
 * counter, as Linux takes for granted, but not of the guest's own setting.
 */
import { LVT_MASKED, LVT_TIMER } from '../../devices/apic-registers.ts';
import type { Timer } from '../../host/clock.ts';
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { readApic } from './apic.ts';
import type { Call } from './call.ts';
import {
  VMI_ALARM_COUNTER_MASK,
  VMI_ALARM_IS_PERIODIC,
  VMI_ALARM_WIRED_LVTT,
  VMI_CYCLES_AVAILABLE,
  VMI_CYCLES_REAL,
  VMI_CYCLES_STOLEN,
} from './calls.ts';
import type { PluggedRom } from './plugged-rom.ts';

/** The ISA interrupt of the PC's timer. */
const IRQ0 = 0;
const NANOSECONDS = 1_000_000_000n;

const COUNTERS = [VMI_CYCLES_REAL, VMI_CYCLES_AVAILABLE, VMI_CYCLES_STOLEN];

/** An alarm that has been set on one of a processor's counters. */
interface Armed {
  /** In cycles. A period of 0: the alarm rings once. */
  expiry: bigint;
  period: bigint;
  /** Rings as the local APIC's timer does, instead of the PC's. */
  local: boolean;
}

function cycles(cpu: Processor): bigint {
  return (BigInt(Math.floor(cpu.clock.now())) * BigInt(cpu.tsc.frequency)) / NANOSECONDS;
}

/** Nothing is said to be stolen: what the host takes passes later, while the guest executes (host-time.ts). */
function counter(cpu: Processor, number: number): bigint {
  return number === VMI_CYCLES_REAL || number === VMI_CYCLES_AVAILABLE ? cycles(cpu) : 0n;
}

/** The alarm of one of a processor's counters; `states.armed` has at `number` whether and for when it is set. */
class CycleAlarm {
  readonly #states: { armed: (Armed | undefined)[] };
  readonly #number: number;
  readonly #cpu: Processor;
  readonly #deadline: Timer;

  constructor(
    states: { armed: (Armed | undefined)[] },
    number: number,
    cpu: Processor,
    ring: (local: boolean) => void,
  ) {
    this.#states = states;
    this.#number = number;
    this.#cpu = cpu;
    this.#deadline = cpu.clock.timer(`vmi/alarm${number}/${cpu.id}`, () => this.#expire(ring));
  }

  set(armed: Armed): void {
    this.#states.armed[this.#number] = armed;
  }

  /** @returns whether it was set. */
  cancel(): boolean {
    const wasSet = this.#states.armed[this.#number] !== undefined;
    this.#deadline.off();
    this.#states.armed[this.#number] = undefined;
    return wasSet;
  }

  /** Sets the deadline by the expiry; a time beyond the machine's life has none. */
  schedule(): void {
    const { clock, tsc } = this.#cpu;
    const { expiry } = this.#states.armed[this.#number]!;
    const at = (expiry * NANOSECONDS + BigInt(tsc.frequency - 1)) / BigInt(tsc.frequency);
    if (at <= BigInt(Number.MAX_SAFE_INTEGER)) this.#deadline.at(Math.max(Number(at), clock.now()));
  }

  #expire(ring: (local: boolean) => void): void {
    const armed = this.#states.armed[this.#number]!;
    const now = cycles(this.#cpu);
    if (now < armed.expiry) return this.schedule();
    if (armed.period === 0n) this.#states.armed[this.#number] = undefined;
    else {
      // Periods that went by unseen are one.
      armed.expiry += ((now - armed.expiry) / armed.period + 1n) * armed.period;
      this.schedule();
    }
    ring(armed.local);
  }
}

export function createTime(context: HypervisorContext, rom: PluggedRom): Group<'time'> {
  const { clock } = context;
  const states = perProcessor(context, 'vmi/alarms', 1, () => ({
    /** By counter. */
    armed: COUNTERS.map((): Armed | undefined => undefined),
  }));

  function ring(cpu: Processor, local: boolean): void {
    if (!local) return context.edge(IRQ0);
    // Like the local APIC's own timer, but with a mode of its own: the entry's says nothing of it.
    const entry = readApic(context, cpu, LVT_TIMER);
    if (!(entry & LVT_MASKED)) cpu.interrupts?.request(entry & 0xff);
  }

  /** By processor and counter. */
  const alarms: CycleAlarm[][] = [];
  for (const cpu of context.cpus)
    alarms[cpu.id] = COUNTERS.map(number => new CycleAlarm(states[cpu.id], number, cpu, local => ring(cpu, local)));

  /** The alarm that a call means; undefined after ending a guest that named a counter there is not. */
  function alarmOf(call: Call): CycleAlarm | undefined {
    const number = call.eax & VMI_ALARM_COUNTER_MASK;
    return alarms[call.cpu.id][number] ?? call.kill(`an alarm on counter ${number}`);
  }

  const hypercalls = rom.calls.serve({
    GetCycleFrequency: {
      name: 'GetCycleFrequency',
      arguments: [],
      status: 'done',
      run: ({ cpu }: Call) => BigInt(cpu.tsc.frequency),
    },
    GetCycleCounter: {
      name: 'GetCycleCounter',
      arguments: ['counter'],
      status: 'done',
      run: (call: Call) => counter(call.cpu, call.eax),
    },
    SetAlarm: {
      name: 'SetAlarm',
      arguments: ['flags', 'expiryLow', 'expiryHigh', 'periodLow', 'periodHigh'],
      status: 'done',
      run(call: Call) {
        const flags = call.eax;
        const alarm = alarmOf(call);
        if (!alarm) return undefined;
        alarm.cancel();
        const expiry = (BigInt(call.ecx) << 32n) | BigInt(call.edx);
        const period = (BigInt(call.stack(1)) << 32n) | BigInt(call.stack(0));
        alarm.set({
          expiry,
          period: flags & VMI_ALARM_IS_PERIODIC ? period : 0n,
          local: (flags & VMI_ALARM_WIRED_LVTT) !== 0,
        });
        // A counter that stands still reaches its first value only.
        if ((flags & VMI_ALARM_COUNTER_MASK) !== VMI_CYCLES_STOLEN || expiry === 0n) alarm.schedule();
        return undefined;
      },
    },
    CancelAlarm: {
      name: 'CancelAlarm',
      arguments: ['flags'],
      status: 'done',
      run(call: Call) {
        const alarm = alarmOf(call);
        return alarm && Number(alarm.cancel());
      },
    },
    GetWallclockTime: {
      name: 'GetWallclockTime',
      arguments: [],
      status: 'done',
      run: () => clock.epoch + BigInt(Math.floor(clock.now())),
    },
  });
  return { hypercalls };
}
