/** Guest time: the machine's clock over one of its two sources, and a processor's time-stamp counter. */
import { MachineClock, VirtualTime } from '../clock.ts';
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
  set(value: bigint): void;
}

export function createTsc(clock: MachineClock, states: States): TimeStampCounter {
  const state = states.state('tsc', 1, () => ({ offset: 0n }));
  const read = () => BigInt(Math.floor(clock.now())) + state.offset;
  return {
    frequency: TSC_FREQUENCY,
    read,
    set: value => void (state.offset += value - read()),
  };
}
