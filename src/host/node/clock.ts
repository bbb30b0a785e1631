/** Node's clocks: `--clock host` makes the guest's time follow them. */
import type { HostClock } from '../clock.ts';

export const nodeClock: HostClock = {
  now: () => Number(process.hrtime.bigint()),
  wall: () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n,
};
