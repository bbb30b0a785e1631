/** INT 1Ah: ticks and the time of day. INT 15h, AH=86h: waiting. */
import type { Clock } from '../../host/clock.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { State, States } from '../../state/state.ts';
import type { Functions, Service } from './bios.ts';
import { BDA } from './image.ts';

/** The PC's timer counts 65536 of these a tick. Hz. */
const TIMER_FREQUENCY = 1_193_182;
const NANOSECONDS_PER_TICK = (65536 / TIMER_FREQUENCY) * 1e9;
const DAY = 86_400e9;
/** As the BIOS counts them. */
const TICKS_PER_DAY = 0x1800b0;

/** Time is UTC, as the real-time clock's. */
export function clockServices(clock: Clock): Functions {
  const wall = () => new Date(Number(clock.epoch / 1_000_000n) + clock.now() / 1e6);
  return {
    // Ticks since midnight; AL tells of a midnight that has passed, and stays 0: nobody here keeps a date by it.
    0: call => {
      const ticks = ticksOf(clock);
      call.al = 0;
      call.cx = ticks >>> 16;
      call.dx = ticks & 0xffff;
      call.carry = false;
    },
    2: call => {
      const now = wall();
      call.cx = (decimal(now.getUTCHours()) << 8) | decimal(now.getUTCMinutes());
      call.dx = decimal(now.getUTCSeconds()) << 8; // DL: no daylight saving.
      call.carry = false;
    },
    4: call => {
      const now = wall();
      const year = now.getUTCFullYear();
      call.cx = (decimal(Math.floor(year / 100)) << 8) | decimal(year % 100);
      call.dx = (decimal(now.getUTCMonth() + 1) << 8) | decimal(now.getUTCDate());
      call.carry = false;
    },
  };
}

/** Ticks since midnight. */
function ticksOf(clock: Clock): number {
  const sinceMidnight = (Number(clock.epoch % BigInt(DAY)) + clock.now()) % DAY;
  return Math.floor(sinceMidnight / NANOSECONDS_PER_TICK);
}

/** Binary-coded decimal of 0-99. */
function decimal(value: number): number {
  return Math.floor(value / 10) * 16 + (value % 10);
}

/** Waits CX:DX microseconds: the call is not over until then. */
export function createWait(clock: Clock, states: States): Service {
  /** When the wait that has begun is over. */
  const state: State<{ end: number | undefined }> = states.state('wait', 1, () => ({ end: undefined }));
  return call => {
    state.end ??= clock.now() + (call.cx * 65536 + call.dx) * 1000;
    if (clock.now() < state.end) return true;
    state.end = undefined;
    call.carry = false;
    return false;
  };
}

/** IRQ 0: counts in the BIOS data area, from midnight to midnight. */
export function tick(memory: GuestMemory): void {
  const ticks = memory.read32(BDA.ticks) + 1;
  memory.write32(BDA.ticks, ticks < TICKS_PER_DAY ? ticks : 0);
  if (ticks >= TICKS_PER_DAY) memory.write8(BDA.midnight, 1);
}

/** What the counter is when the machine starts. */
export function setTicks(memory: GuestMemory, clock: Clock): void {
  memory.write32(BDA.ticks, ticksOf(clock));
}
