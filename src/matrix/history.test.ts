import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseBaseline } from './baseline.ts';
import { jsonText } from './escape.ts';
import { HistoryError, historyLine, historyRun, parseHistory, trendsOf } from './history.ts';
import { htmlReport } from './html.ts';
import { cellWithoutBoot, type MatrixReport } from './result.ts';
import { exampleReport, NASTY } from './testing.ts';

/** A run of the day, of kernels whose bytes are known. */
function report(day: number, change: (report: MatrixReport) => void = () => {}): MatrixReport {
  const made = exampleReport();
  made.date = `2026-01-${String(day).padStart(2, '0')}T00:00:00.000Z`;
  made.settings = 'options';
  for (const kernel of made.kernels) kernel.digest = `bytes of ${kernel.name}`;
  change(made);
  return made;
}
const fail = (made: MatrixReport) => {
  made.cells[0] = { ...made.cells[0]!, verdict: 'hung', reason: 'x' };
};

describe('the history', () => {
  test('is read as it was written, whatever a guest has printed', () => {
    const reports = [report(1), report(2, made => (made.cells[0]!.tests[0]!.name = `a\nb ${NASTY}\u2028`))];
    const text = reports.map(historyLine).join('');
    assert.equal(text.match(/\n/g)!.length, 2);
    assert.deepEqual(parseHistory(text), reports.map(historyRun));
    assert.deepEqual(parseHistory(''), []);
    assert.deepEqual(parseHistory(`\n${text}\r\n`), reports.map(historyRun));
    // What the report has beside it is read, too.
    assert.deepEqual(parseBaseline(jsonText(reports[0])), reports[0]);
  });

  test('what is no run is refused with its line', () => {
    const good = historyLine(report(1));
    const cases: [string, RegExp][] = [
      [`${good}${good.slice(0, 100)}`, /^line 2 is not JSON: remove it/],
      [`${good}{"format":2}\n`, /^line 2 is of format 2, and this polyvisor writes format 1/],
      ['{}\n', /^line 1 is no run/],
      ['null\n', /^line 1 is no run/],
      ['[]\n', /^line 1 is no run/],
      [good.replace('"passed"', '"great"'), /^line 1 is no run/],
      [good.replace(/"instructions":\d+/, '"instructions":"1"'), /^line 1 is no run/],
    ];
    for (const [text, message] of cases)
      assert.throws(
        () => parseHistory(text),
        (error: unknown) => (error instanceof HistoryError && message.test(error.message)) || assert.fail(`${error}`),
      );
  });
});

describe('trends', () => {
  test('a cell that ends in one way now and in another then, with all bytes and options the same, is flaky', () => {
    const earlier = [report(1), report(2, fail), report(3), report(4)].map(historyRun);
    const [first, second] = trendsOf(report(5), earlier);
    assert.deepEqual(first!.flaky, { verdicts: ['passed', 'hung'], bad: 1, runs: 5 });
    assert.deepEqual(
      first!.moments.map(({ cell }) => cell.verdict),
      ['passed', 'hung', 'passed', 'passed', 'passed'],
    );
    assert.equal(second!.flaky, undefined);
  });

  const others: Record<string, (report: MatrixReport) => void> = {
    'of another kernel of the name': made => (made.kernels[0]!.digest = 'other'),
    'with other options': made => (made.settings = 'others'),
    'of another polyvisor': made => (made.polyvisor = '9'),
    'of a hypervisor from another file': made => (made.hypervisors[0]!.digest = 'other'),
    'whose bytes nobody knows': made => void delete made.kernels[0]!.digest,
    'whose options nobody knows': made => void delete made.settings,
  };
  for (const [name, change] of Object.entries(others))
    test(`a run ${name} that ended otherwise makes none flaky`, () => {
      const before = historyRun(
        report(1, made => {
          fail(made);
          change(made);
        }),
      );
      assert.equal(trendsOf(report(2), [before])[0]!.flaky, undefined);
      assert.equal(trendsOf(report(2), [before])[0]!.moments.length, 2);
    });

  test('one version is followed by the next; another clock and another test are no cost to compare with', () => {
    const older = report(1, made => {
      for (const kernel of made.kernels) kernel.name = `old ${kernel.name}`;
      for (const cell of made.cells) cell.kernel = `old ${cell.kernel}`;
    });
    const earlier = [older, report(2, made => (made.clock = 'host')), report(3, made => (made.test = 'x'))];
    const [first] = trendsOf(report(4), earlier.map(historyRun));
    assert.deepEqual(
      first!.moments.map(({ cell, comparable }) => [cell.kernel, comparable]),
      [
        ['old 6.1.0-1', true],
        ['6.1.0-1', false],
        ['6.1.0-1', false],
        ['6.1.0-1', true],
      ],
    );
  });

  test('a cell that is new has one run, and one that has gone is left out', () => {
    const before = historyRun(report(1, made => void made.cells.splice(0, 1)));
    const now = report(2, made => void made.cells.splice(1, 1));
    assert.deepEqual(
      trendsOf(now, [before]).map(({ moments }) => moments.length),
      [1, 2, 2, 2, 2],
    );
  });
});

describe('the report', () => {
  test('shows runs, what differs from the last one, and what is flaky', () => {
    const earlier = [report(1), report(2, fail), report(3)].map(historyRun);
    const now = report(4, made => (made.cells[0]!.total = { ...made.cells[0]!.total, instructions: 1.5e9 }));
    const html = htmlReport(now, earlier);
    const row = /<tr><th>6\.1\.0-1 on plain<\/th>.*<\/tr>/.exec(html)![0];
    assert.deepEqual(
      [...row.matchAll(/class="run (\w+)"/g)].map(([, kind]) => kind),
      ['good', 'bad', 'good', 'good'],
    );
    assert.match(row, /<td class="number">\+50 %<\/td>/);
    assert.match(row, /1 of 4 bad<\/span> <span class="faint">passed, hung/);
    assert.match(row, /title="2026-01-02, 6\.1\.0-1, polyvisor 0\.1\.0: hung, 1\.00 G"/);
    assert.match(html, /<tr><th>test fork-exec<\/th>(<td class="number">100 M<\/td>){4}<\/tr>/);
    assert.doesNotMatch(html, /<script/);
  });

  test('has no such part for a first run, or where nothing was booted', () => {
    assert.doesNotMatch(htmlReport(report(1)), /<h2>History/);
    const bare = (day: number) =>
      report(day, made => {
        made.cells = made.cells.map(cell => cellWithoutBoot(cell.kernel, cell.hypervisor, 'not built for it', 'x'));
      });
    assert.doesNotMatch(htmlReport(bare(2), [historyRun(bare(1))]), /<h2>History/);
  });

  test('a hostile history writes no markup', () => {
    const run = historyRun(
      report(1, made => {
        made.date = made.polyvisor = NASTY;
        made.cells[0]!.tests[0]!.name = NASTY;
      }),
    );
    const html = htmlReport(report(2), [run]);
    assert.match(html, /<h2>History/);
    assert.doesNotMatch(html, /<script/);
  });
});
