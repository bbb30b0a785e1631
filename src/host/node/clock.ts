/** Node's clocks: `--clock host` makes the guest's time follow them. */
import type { HostClock } from '../clock.ts';
import { portableClock } from '../portable-clock.ts';

export const nodeClock: HostClock = {
  ...portableClock,
  turn: () => new Promise(resolve => setImmediate(resolve)),
};
