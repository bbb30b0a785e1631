/** Guest time: the machine's clock over one of its two sources, and a processor's time-stamp counter. */
import { MachineClock, VirtualTime } from '../clock.ts';
import type { Cpu } from '../engine/x86/cpu.ts';
import { state } from '../engine/x86/state.ts';
import type { HostClock } from '../host/clock.ts';
import { HostTime } from '../host-time.ts';
import type { States } from '../state/state.ts';

/** Guest TSC, in Hz: one tick a nanosecond, on every clock. */
const TSC_FREQUENCY = 1_000_000_000;
/** With the virtual clock the epoch is fixed, so that runs repeat: 2026-01-01. */
export const VIRTUAL_EPOCH = 1_767_225_600_000_000_000n;

export interface GuestTime {
  readonly clock: MachineClock;
  /** Counts instructions; undefined if guest time follows a host's clock. */
  readonly virtual: VirtualTime | undefined;
  /** Follows a host's clock; undefined if guest time counts instructions. */
  readonly following: HostTime | undefined;
}

/** @param instructions executed so far, by all processors */
export function createTime(host: HostClock | undefined, instructions: () => number, states: States): GuestTime {
  const virtual = host ? undefined : new VirtualTime(instructions, states);
  const deadlines = {
    get next() {
      return clock.next;
    },
    reached: () => clock.onEarlier(),
  };
  const following = host && new HostTime(host, instructions, deadlines, states);
  const clock: MachineClock = new MachineClock((virtual ?? following!).now, host ? host.wall() : VIRTUAL_EPOCH, states);
  return { clock, virtual, following };
}

/** A processor's time-stamp counter (SDM 3B 18.17): guest time, plus what the guest has set it to. */
export interface TimeStampCounter {
  readonly frequency: number;
  read(): bigint;
  /** What it is at a time of the clock's. */
  at(time: number): bigint;
}

export function createTsc(clock: MachineClock, cpu: Cpu): TimeStampCounter {
  const at = (time: number) => BigInt.asUintN(64, BigInt(Math.floor(time)) + cpu.get64(state.TSC_OFFSET));
  return { frequency: TSC_FREQUENCY, read: () => at(clock.now()), at };
}
