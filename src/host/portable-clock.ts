/** The clock of any JavaScript host, by what Node.js and browsers have in common. */
import type { HostClock } from './clock.ts';

/** A MessageChannel as far as it is the same on all hosts. */
interface Channel {
  port1: { onmessage: (() => void) | null; close(): void };
  port2: { postMessage(message: unknown): void };
}

export const portableClock: HostClock = {
  now: () => performance.now() * 1e6,
  wall: () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n,
  // A message arrives in a later turn of the event loop, without the delay that timers have.
  turn: () =>
    new Promise(resolve => {
      const { port1, port2 } = new MessageChannel() as unknown as Channel;
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(undefined);
    }),
  sleep(nanoseconds) {
    let wake = () => {};
    const over = new Promise<void>(resolve => {
      const timer = setTimeout(resolve, Math.ceil(nanoseconds / 1e6));
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    return { over, wake };
  },
};
