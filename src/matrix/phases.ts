/** Follows a boot by what it prints: which phase the guest is in, and what each one cost. */
import { type Cost, PHASES, type Phase, type PhaseResult } from './result.ts';

/**
 * Lines of Linux's log that begin a phase. "devtmpfs: initialized" is the first thing driver_init() does; the netlink family
 * is registered by the first initcalls, for kernels without devtmpfs. Kernels before 4.20 do not name their first process.
 */
const BEGINNINGS: readonly [phase: Phase, line: RegExp][] = [
  ['drivers', /\bdevtmpfs: initialized|\bNET: Registered (?:PF_NETLINK|protocol family 16)\b/],
  ['init', /\bRun \S+ as init process|\bFreeing unused kernel (?:image|memory)/],
];

export interface PhaseTracker {
  /** A whole line of the console. */
  line(text: string): void;
  /** The guest is in `phase` now, by other evidence. */
  enter(phase: Phase): void;
  readonly phase: Phase;
  /** All phases entered, the last one up to now. */
  readonly results: PhaseResult[];
}

/** @param now what the machine has cost so far */
export function createPhaseTracker(now: () => Cost, onPhase: (phase: Phase) => void = () => {}): PhaseTracker {
  const entered: { phase: Phase; at: Cost }[] = [{ phase: PHASES[0], at: now() }];
  const current = () => entered[entered.length - 1]!;
  const enter = (phase: Phase) => {
    if (PHASES.indexOf(phase) <= PHASES.indexOf(current().phase)) return;
    entered.push({ phase, at: now() });
    onPhase(phase);
  };
  return {
    enter,
    line(text) {
      if (current().phase === 'entry' && text.trim() !== '') enter('early boot');
      if (current().phase === 'test') return; // The test may print what it likes.
      for (const [phase, pattern] of BEGINNINGS) if (pattern.test(text)) enter(phase);
    },
    get phase() {
      return current().phase;
    },
    get results() {
      const end = now();
      return entered.map(({ phase, at }, index) => ({ phase, ...difference(entered[index + 1]?.at ?? end, at) }));
    },
  };
}

export function difference(end: Cost, start: Cost): Cost {
  return {
    hostTime: end.hostTime - start.hostTime,
    guestTime: end.guestTime - start.guestTime,
    instructions: end.instructions - start.instructions,
  };
}
