/** Two machines in step: whoever has executed more waits for the other, unless that one has nothing to do. */
import type { MachinePane } from './machine-pane.ts';

/** How far one may be ahead, in instructions, before it waits; it goes on when the other is half as far behind. */
const LEAD = 30e6;
/** A machine that executes fewer instructions between two looks has nothing to do. */
const IDLE = 2e5;
/** Between two looks, in milliseconds: longer than between two reports. */
const LOOK_EVERY = 250;

/** @param wanted false: each goes on as it can. @returns what ends it */
export function keepInStep(panes: readonly [MachinePane, MachinePane], wanted: () => boolean): () => void {
  const before = [0, 0];
  const timer = setInterval(() => {
    const now = panes.map(({ statistics }) => statistics?.instructions ?? 0);
    for (const [index, pane] of panes.entries()) {
      const other = panes[1 - index]!;
      const busy = other.activity === 'starting' || now[1 - index]! - before[1 - index]! > IDLE;
      const waits = pane.activity === 'held';
      const ahead = now[index]! - now[1 - index]!;
      pane.hold(wanted() && busy && ahead > (waits ? LEAD / 2 : LEAD));
    }
    before.splice(0, 2, ...now);
  }, LOOK_EVERY);
  return () => clearInterval(timer);
}
