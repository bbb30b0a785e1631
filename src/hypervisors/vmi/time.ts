/**
 * The timer calls: counters of cycles, alarms on them, and the time of day. A cycle is a tick of the time-stamp counter, as Linux
 * takes for granted, but not of the guest's own setting.
 */
import { LVT_MASKED, LVT_TIMER } from '../../devices/apic-registers.ts';
import type { Alarm } from '../../host/clock.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { readApic } from './apic.ts';
import type { Call, VmiCallEntry } from './call.ts';
import {
  VMI_ALARM_COUNTER_MASK,
  VMI_ALARM_IS_PERIODIC,
  VMI_ALARM_WIRED_LVTT,
  VMI_CYCLES_AVAILABLE,
  VMI_CYCLES_REAL,
  VMI_CYCLES_STOLEN,
} from './calls.ts';

/** The ISA interrupt of the PC's timer. */
const IRQ0 = 0;
const NANOSECONDS = 1_000_000_000n;

/** An alarm that has been set on one of a processor's counters. */
interface Armed {
  /** In cycles. A period of 0 is none. */
  expiry: bigint;
  period: bigint;
  local: boolean;
  /** The machine's; undefined where the time will not come in this machine's life. */
  alarm: Alarm | undefined;
}

export function createTime(context: HypervisorContext) {
  const { clock } = context;
  /** By processor and counter. */
  const armed = new Map<string, Armed>();

  const cycles = (cpu: Processor): bigint =>
    (BigInt(Math.floor(clock.now())) * BigInt(cpu.tsc.frequency)) / NANOSECONDS;

  /** Nothing is ever stolen: guest time stands still while the host holds the machine up (clock.ts). */
  function counter(cpu: Processor, number: number): bigint {
    return number === VMI_CYCLES_REAL || number === VMI_CYCLES_AVAILABLE ? cycles(cpu) : 0n;
  }

  function ring(cpu: Processor, local: boolean): void {
    if (!local) return context.edge(IRQ0);
    // Like the local APIC's own timer, but with a mode of its own: the entry's says nothing of it.
    const entry = readApic(context, LVT_TIMER);
    if (!(entry & LVT_MASKED)) cpu.interrupts?.request(entry & 0xff);
  }

  function schedule(cpu: Processor, key: string, entry: Armed): void {
    const at = (entry.expiry * NANOSECONDS + BigInt(cpu.tsc.frequency - 1)) / BigInt(cpu.tsc.frequency);
    if (at > BigInt(Number.MAX_SAFE_INTEGER)) return;
    entry.alarm = clock.alarm(Math.max(Number(at), clock.now()), () => {
      entry.alarm = undefined;
      const now = cycles(cpu);
      if (now < entry.expiry) return schedule(cpu, key, entry);
      if (entry.period === 0n) armed.delete(key);
      else {
        // Periods that went by unseen are one.
        entry.expiry += ((now - entry.expiry) / entry.period + 1n) * entry.period;
        schedule(cpu, key, entry);
      }
      ring(cpu, entry.local);
    });
  }

  function cancel(key: string): boolean {
    armed.get(key)?.alarm?.cancel();
    return armed.delete(key);
  }

  /** Where an alarm is kept; undefined after ending a guest that named a counter there is not. */
  function keyOf(call: Call): string | undefined {
    const number = call.eax & VMI_ALARM_COUNTER_MASK;
    return number <= VMI_CYCLES_STOLEN ? `${call.cpu.id} ${number}` : call.kill(`an alarm on counter ${number}`);
  }

  const calls = {
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
        const { cpu, eax: flags } = call;
        const key = keyOf(call);
        if (key === undefined) return undefined;
        cancel(key);
        const expiry = (BigInt(call.ecx) << 32n) | BigInt(call.edx);
        const period = (BigInt(call.stack(1)) << 32n) | BigInt(call.stack(0));
        const entry: Armed = {
          expiry,
          period: flags & VMI_ALARM_IS_PERIODIC ? period : 0n,
          local: (flags & VMI_ALARM_WIRED_LVTT) !== 0,
          alarm: undefined,
        };
        armed.set(key, entry);
        // A counter that stands still reaches its first value only.
        if ((flags & VMI_ALARM_COUNTER_MASK) !== VMI_CYCLES_STOLEN || expiry === 0n) schedule(cpu, key, entry);
        return undefined;
      },
    },
    CancelAlarm: {
      name: 'CancelAlarm',
      arguments: ['flags'],
      status: 'done',
      run(call: Call) {
        const key = keyOf(call);
        return key === undefined ? undefined : Number(cancel(key));
      },
    },
    GetWallclockTime: {
      name: 'GetWallclockTime',
      arguments: [],
      status: 'done',
      run: () => clock.epoch + BigInt(Math.floor(clock.now())),
    },
  } satisfies Record<string, VmiCallEntry>;

  return { calls };
}
