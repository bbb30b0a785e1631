/**
 * A browser's clocks. `performance.now()` moves in steps there (0.1 ms in Chromium and 1 ms in Firefox, where the page is not
 * isolated from others); between two steps guest time goes on by what has been executed (host-time.ts).
 */
import type { HostClock } from '../clock.ts';
import { portableClock } from '../portable-clock.ts';

export const browserClock: HostClock = {
  ...portableClock,
  sleep(nanoseconds) {
    const { over, wake } = portableClock.sleep(nanoseconds);
    // A timer that is set by a timer's own work is held back to 4 ms at the fifth (HTML, "timer nesting level"); a message's work
    // is not counted.
    return { over: over.then(portableClock.turn), wake };
  },
};
