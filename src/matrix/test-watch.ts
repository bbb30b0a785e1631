/**
 * Reads a test's output as it comes: the lines by which the built-in test tells of its items, whose cost is measured here and
 * whose claims are checked where the guest cannot check them itself (its clock, its sleeps, what reached the console).
 */
import { difference } from './phases.ts';
import type { Cost, TestResult } from './result.ts';
import { CONSOLE_LINE, CONSOLE_LINES, SEPARATOR, SLEEPS } from './test-script.ts';

/** A script that names more items than this is no test of ours. */
const MOST_TESTS = 200;
const LONGEST_LINE = 4096;
const LONGEST_NOTE = 200;

/** How much a guest's clock may differ from the machine's over half a second, and in all; in seconds. */
const RATE_TOLERANCE = 0.05;
const OFFSET_TOLERANCE = 1.5;
/** How much later than asked a sleep may end, for the process that sleeps has to be started, too; in seconds. */
const SLEEP_TOLERANCE = 0.05;

/** Items that a busy host may make fail, and the seconds that it must have taken for that. */
const TIMED: ReadonlySet<string> = new Set(['clock', 'sleep']);
const BUSY = 0.05;

export interface TestWatch {
  /** The test's output. @returns what of it is the test's own words, without ours */
  feed(bytes: Uint8Array): string;
  /** The item under way. */
  readonly current: string | undefined;
  readonly results: TestResult[];
}

export interface TestWatchOptions {
  now: () => Cost;
  /** The wall's time in seconds since 1970 at the guest's time 0. */
  epoch: () => number;
  /** Seconds that the host has taken from the guest so far; 0 for ever where guest time does not follow the host's. */
  stolen: () => number;
  fact: (name: string, value: string) => void;
}

export function createTestWatch({ now, epoch, stolen, fact }: TestWatchOptions): TestWatch {
  const decoder = new TextDecoder();
  const results: TestResult[] = [];
  let line = '';
  let current:
    | { name: string; start: Cost; stolen: number; stamps: { guest: number; machine: number }[]; text: string[] }
    | undefined;

  const finish = (outcome: TestResult['outcome'], note: string) => {
    if (!current) return;
    const cost = difference(now(), current.start);
    const result: TestResult = { name: current.name, outcome, ...cost };
    if (note) result.note = note.slice(0, LONGEST_NOTE);
    if (outcome === 'passed') {
      CHECKS.get(current.name)?.({ ...current, cost, epoch: epoch(), result });
      if (result.outcome === 'failed') excuse(result, stolen() - current.stolen);
    }
    if (results.length < MOST_TESTS) results.push(result);
    current = undefined;
  };

  const word = (text: string) => {
    const [kind, ...rest] = text.split(' ');
    if (kind === 'begin' && rest[0]) {
      finish('failed', 'it did not end');
      current = { name: rest[0].slice(0, 40), start: now(), stolen: stolen(), stamps: [], text: [] };
    } else if (kind === 'end' && rest[0] === current?.name)
      finish(rest[1] === 'passed' || rest[1] === 'skipped' ? rest[1] : 'failed', rest.slice(2).join(' '));
    else if (kind === 'fact' && rest[0]) fact(rest[0], rest.slice(1).join(' '));
    else if (kind === 'stamp')
      current?.stamps.push({ guest: Number(rest[0]) + Number(rest[1]) / 1e6, machine: now().guestTime });
  };

  return {
    feed(bytes) {
      let own = '';
      for (const [index, piece] of decoder.decode(bytes, { stream: true }).split('\n').entries()) {
        if (index > 0) {
          // A console that is a terminal puts a carriage return before the line's end.
          if (line.startsWith(SEPARATOR)) word(line.slice(1).replace(/\r$/, ''));
          else if (current?.name !== 'console') own += `${line}\n`;
          else if (current.text.length <= CONSOLE_LINES) current.text.push(line);
          line = '';
        }
        line = (line + piece).slice(0, LONGEST_LINE);
      }
      return own;
    },
    get current() {
      return current?.name;
    },
    results,
  };
}

interface Claim {
  stamps: readonly { guest: number; machine: number }[];
  text: readonly string[];
  cost: Cost;
  epoch: number;
  result: TestResult;
}

/** What an item that passed in the guest's eyes must stand up to here. */
const CHECKS: ReadonlyMap<string, (claim: Claim) => void> = new Map([
  ['clock', checkClock],
  ['sleep', checkSleep],
  ['console', checkConsole],
]);

function checkClock({ stamps: [first, second], epoch, result }: Claim): void {
  if (!first || !second || !Number.isFinite(first.guest) || !Number.isFinite(second.guest))
    return fail(result, 'the guest could not read its clock');
  const rate = second.guest - first.guest - (second.machine - first.machine);
  const offset = second.guest - (epoch + second.machine);
  measure(result, offset * 1000, 'ms off');
  if (Math.abs(rate) > RATE_TOLERANCE)
    fail(result, `the guest's clock went ${(rate * 1000).toFixed(0)} ms wrong in half a second`);
  else if (Math.abs(offset) > OFFSET_TOLERANCE) fail(result, `the guest's clock is ${offset.toFixed(1)} s off`);
}

function checkSleep({ cost, result }: Claim): void {
  const late = cost.guestTime / SLEEPS.count - SLEEPS.seconds;
  measure(result, late * 1000, 'ms late');
  if (late < -0.001) fail(result, `a sleep ended ${(-late * 1000).toFixed(1)} ms early`);
  else if (late > SLEEP_TOLERANCE) fail(result, `a sleep ended ${(late * 1000).toFixed(0)} ms late`);
}

/** What fails by the clock says nothing of the guest if the host took that much from it meanwhile. */
function excuse(result: TestResult, taken: number): void {
  if (!TIMED.has(result.name) || taken < BUSY) return;
  result.outcome = 'skipped';
  result.note = `the host was too busy to judge, it took ${taken.toFixed(1)} s: ${result.note}`.slice(0, LONGEST_NOTE);
}

function checkConsole({ text, cost, result }: Claim): void {
  const right = text.filter(line => line === CONSOLE_LINE).length;
  if (right !== CONSOLE_LINES || text.length !== CONSOLE_LINES)
    fail(result, `${right} of ${CONSOLE_LINES} lines arrived whole`);
  measure(result, ((CONSOLE_LINE.length + 1) * CONSOLE_LINES) / cost.guestTime / 1000, 'kB/s');
}

function fail(result: TestResult, note: string): void {
  result.outcome = 'failed';
  result.note = note;
}

function measure(result: TestResult, value: number, unit: string): void {
  if (Number.isFinite(value)) [result.value, result.unit] = [Math.round(value * 1000) / 1000, unit];
}
