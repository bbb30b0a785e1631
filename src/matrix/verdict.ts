/** From how a machine ended, and how far it had got, to what is said of its cell. */
import type { Exit } from '../exits.ts';
import type { Phase, TestResult, Verdict } from './result.ts';

export interface Outcome {
  exit: Exit;
  phase: Phase;
  /** What the test's script ended with; undefined if it did not. */
  status: number | undefined;
  tests: readonly TestResult[];
  /** The item of the test under way. */
  current: string | undefined;
  /** Text was waited for instead of a test, and has come. */
  seen: boolean;
  /** More was printed than a cell may. */
  flooded: boolean;
}

export function judge(outcome: Outcome): { verdict: Verdict; reason: string } {
  const { exit, phase, status, tests, current, seen, flooded } = outcome;
  if (flooded) return { verdict: 'flooded', reason: `it prints without end in ${where(phase, current)}` };
  if (seen) return { verdict: 'passed', reason: '' };
  if (status !== undefined) {
    const failed = tests
      .filter(test => test.outcome === 'failed')
      .map(({ name, note }) => (note ? `${name}: ${note}` : name));
    if (failed.length > 0) return { verdict: 'failed', reason: failed.join('; ') };
    if (status !== 0) return { verdict: 'failed', reason: `the test ended with status ${status}` };
    return afterTest(exit);
  }
  switch (exit.kind) {
    case 'panic':
      return { verdict: 'panicked', reason: `${exit.reason} in ${where(phase, current)}` };
    case 'triple-fault':
      return { verdict: 'crashed', reason: `triple fault in ${where(phase, current)}` };
    case 'killed':
      return { verdict: 'crashed', reason: `${exit.reason} in ${where(phase, current)}` };
    case 'dead-halt':
      return { verdict: 'hung', reason: `halted for ever in ${where(phase, current)}` };
    case 'timeout':
      return { verdict: 'hung', reason: `its time was up in ${where(phase, current)}` };
    case 'reset':
      return { verdict: 'reset', reason: `it reset itself in ${where(phase, current)}` };
    case 'power-off':
      return {
        verdict: 'ended',
        reason: `it powered off in ${where(phase, current)}${phase === 'test' ? '' : OWN_KERNEL}`,
      };
    case 'stopped':
      return { verdict: 'died', reason: `it was stopped in ${where(phase, current)}` };
  }
}

/** For whoever tries a kernel that starts no init. */
const OWN_KERNEL = ', and no test had begun; a kernel that runs none passes by a text that it prints: --until TEXT';

/** What an exit is when it should have been another. */
const AFTER_TEST: Readonly<Partial<Record<Exit['kind'], Verdict>>> = {
  panic: 'panicked',
  reset: 'reset',
  'triple-fault': 'crashed',
  killed: 'crashed',
};

/** The test passed; but a guest shall also go when it is told to. */
function afterTest(exit: Exit): { verdict: Verdict; reason: string } {
  if (exit.kind === 'power-off') return { verdict: 'passed', reason: '' };
  const reason = 'reason' in exit ? `: ${exit.reason}` : '';
  return {
    verdict: AFTER_TEST[exit.kind] ?? 'hung',
    reason: `the test passed, but the guest did not power off${reason}`,
  };
}

const PLACES: Readonly<Record<Phase, string>> = {
  entry: 'its entry, before it printed anything',
  'early boot': 'early boot',
  drivers: 'its drivers',
  init: 'its init',
  test: 'the test',
  'power-off': 'power-off',
};

function where(phase: Phase, current: string | undefined): string {
  return current ? `the test, at ${current}` : PLACES[phase];
}
