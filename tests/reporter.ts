/**
 * What npm test prints: TAP, and before its closing lines what failed, with the reason, and which files took longest, so that
 * the end of a long log is enough to go on with. The files that failed are left, a line each, in the file that
 * POLYVISOR_FAILED_FILES names.
 */
import { writeFileSync } from 'node:fs';
import { tap } from 'node:test/reporters';

/** What Node's test runner tells its reporters, as far as it is read here. */
interface TestEvent {
  type: string;
  data: {
    name?: string;
    file?: string;
    nesting?: number;
    message?: string;
    details?: { duration_ms?: number; error?: Error & { failureType?: string } };
  };
}

/** How many lines of a failure's reason are repeated, and how many of the slowest files are named. */
const REASON_LINES = 12;
const SLOWEST = 12;

/** A test file's path as run.ts has it. */
const nameOf = (file: string) => file.replace(/^.*\/dist\//, '');

export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const failures: string[] = [];
  const failed = new Set<string>();
  const seconds = new Map<string, number>();
  let closing = false;

  /** The same events, with the summary put in front of the first closing line. */
  async function* summarized(): AsyncGenerator<TestEvent> {
    for await (const event of source) {
      const { name = '', file = '', nesting, message = '', details } = event.data;
      if (event.type === 'test:fail' && details?.error?.failureType !== 'subtestsFailed') {
        const error = details?.error;
        const reason = String(error?.cause instanceof Error ? error.cause.message : (error?.message ?? '')).split('\n');
        failed.add(nameOf(file));
        failures.push([`not ok: ${name} (${nameOf(file)})`, ...reason.slice(0, REASON_LINES)].join('\n  '));
      }
      if ((event.type === 'test:pass' || event.type === 'test:fail') && nesting === 0) {
        seconds.set(nameOf(file), (seconds.get(nameOf(file)) ?? 0) + (details?.duration_ms ?? 0) / 1000);
      }
      if (event.type === 'test:diagnostic' && nesting === 0 && message.startsWith('tests ') && !closing) {
        closing = true;
        const slowest = [...seconds].sort((one, other) => other[1] - one[1]).slice(0, SLOWEST);
        for (const [slow, time] of slowest) yield comment(`${time.toFixed(0)} s in ${slow}`);
        for (const failure of failures) for (const line of failure.split('\n')) yield comment(line);
      }
      yield event;
    }
  }

  yield* tap(summarized() as never) as AsyncIterable<string>;
  const { POLYVISOR_FAILED_FILES: list } = process.env;
  if (list !== undefined) writeFileSync(list, [...failed].join('\n'));
}

function comment(message: string): TestEvent {
  return { type: 'test:diagnostic', data: { nesting: 0, message } };
}
