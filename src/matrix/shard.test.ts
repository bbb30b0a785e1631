import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compareWithBaseline, parseBaseline } from './baseline.ts';
import { jsonText } from './escape.ts';
import { htmlReport } from './html.ts';
import { junitReport } from './junit.ts';
import { markdownReport } from './markdown.ts';
import { MergeError, mergeReports, type ReportFile } from './merge.ts';
import type { MatrixReport } from './result.ts';
import { dealCells } from './shard.ts';
import { exampleReport, passedCell } from './testing.ts';

/** Numbers that look random and are the same in every run (Lehmer's generator of 1951, with Park and Miller's multiplier). */
function* numbers(seed: number) {
  for (let value = seed; ; ) yield (value = (value * 48271) % 2147483647) / 2147483647;
}

describe('the deal', () => {
  test('has every cell in exactly one shard, is the same every time, and leaves no shard far behind', () => {
    const random = numbers(7);
    for (const [cells, count] of [
      [0, 3],
      [1, 1],
      [2, 5],
      [60, 4],
      [333, 16],
    ] as const) {
      const costs = Array.from({ length: cells }, () => random.next().value! * 20);
      const shards = dealCells(costs, count);
      assert.equal(shards.length, count);
      assert.deepEqual(
        shards.flat().sort((a, b) => a - b),
        [...costs.keys()],
      );
      for (const shard of shards)
        assert.deepEqual(
          shard,
          shard.toSorted((a, b) => a - b),
        );
      assert.deepEqual(dealCells(costs, count), shards);
      // Nobody can do better than an even share, or than the longest cell.
      const best = Math.max(costs.reduce((sum, cost) => sum + cost, 0) / count, ...costs, 0);
      const worst = Math.max(...shards.map(shard => shard.reduce((sum, cell) => sum + costs[cell]!, 0)));
      assert.ok(worst <= best * (4 / 3) + 1e-9, `${worst} of ${best}`);
    }
  });

  test('the longest come first, and equal ones are spread evenly', () => {
    assert.deepEqual(dealCells([1, 2, 9, 3, 3], 2), [[2], [0, 1, 3, 4]]);
    assert.deepEqual(
      dealCells([5, 5, 5, 5, 5, 5, 5], 3).map(({ length }) => length),
      [3, 2, 2],
    );
    assert.deepEqual(
      dealCells([0, 0, 0, 0], 2).map(({ length }) => length),
      [2, 2],
    );
  });
});

/** What one machine wrote, and what `count` of them would have written each. */
function shardsOf(whole: MatrixReport, count: number): ReportFile[] {
  const costs = whole.cells.map(({ total }) => total.hostTime);
  return dealCells(costs, count).map((places, at) => ({
    file: `shard-${at + 1}.json`,
    report: parseBaseline(
      jsonText({
        ...whole,
        date: new Date(Date.parse(whole.date) + at * 1000).toISOString(),
        cells: places.map(place => whole.cells[place]),
        wallTime: 3,
        jobs: 2,
        shard: { index: at + 1, count, plan: 'p', host: `runner-${at + 1}` },
      }),
    ),
  }));
}

/** 4 kernels under 3 hypervisors, all that example cells can be. */
function wholeReport(): MatrixReport {
  const report = exampleReport();
  for (const name of ['6.2.0-1', '6.3.0-1']) {
    report.kernels.push({ ...report.kernels[0]!, name });
    for (const [index, { name: hypervisor }] of report.hypervisors.entries())
      report.cells.push(passedCell(name, hypervisor, index + 0.5));
  }
  return report;
}

const withoutPlace = (report: MatrixReport) => report.cells.map(({ shard: _, ...cell }) => cell);

describe('merged shards', () => {
  test('four are the report of one run, cell for cell, in whichever order they are named', () => {
    const whole = wholeReport();
    const files = shardsOf(whole, 4);
    assert.ok(files.every(({ report }) => report.cells.length > 1));
    const merged = mergeReports([2, 0, 3, 1].map(index => files[index]!));
    assert.deepEqual(withoutPlace(merged), whole.cells);
    const { cells: _c, date, wallTime, jobs, shards, ...rest } = merged;
    const { cells: _d, date: first, wallTime: _w, jobs: _j, ...expected } = whole;
    assert.deepEqual(rest, expected);
    assert.equal(date, first);
    // From the first one's start to the last one's end, 3 s apart and 3 s long.
    assert.equal(wallTime, 6);
    assert.equal(jobs, 8);
    assert.deepEqual(
      shards!.map(({ index, host }) => [index, host]),
      [1, 2, 3, 4].map(index => [index, `runner-${index}`]),
    );
    for (const [index, { report }] of files.entries())
      for (const { kernel, hypervisor } of report.cells) {
        const cell = merged.cells.find(cell => cell.kernel === kernel && cell.hypervisor === hypervisor);
        assert.equal(cell!.shard, index + 1);
      }
    // It is a report as any other: a baseline, and JUnit XML to the letter.
    assert.deepEqual(parseBaseline(jsonText(merged)), merged);
    assert.equal(junitReport(merged), junitReport(whole));
  });

  test('more shards than cells are merged, too', () => {
    const whole = wholeReport();
    assert.deepEqual(withoutPlace(mergeReports(shardsOf(whole, 30))), whole.cells);
  });

  test('what has changed since the baseline is what one machine would have said', () => {
    const [whole, old] = [wholeReport(), wholeReport()];
    for (const cell of old.cells) cell.total = { ...cell.total, instructions: cell.total.instructions / 2 };
    old.polyvisor = '0.0.1';
    old.cells = old.cells.filter(({ kernel }) => kernel !== '6.2.0-1');
    const files = shardsOf(whole, 4);
    for (const { report } of files) compareWithBaseline(report, old, 0.02, 'old.json');
    compareWithBaseline(whole, old, 0.02, 'old.json');
    const merged = mergeReports(files);
    assert.deepEqual(withoutPlace(merged), whole.cells);
    assert.ok(whole.cells.some(({ changes }) => changes));
    assert.deepEqual(merged.baseline, whole.baseline);
    assert.equal(whole.baseline!.notes.length, 1 + 3);
  });

  test('the reports say where a cell ran', () => {
    const merged = mergeReports(shardsOf(wholeReport(), 4));
    const { shard } = merged.cells.find(({ verdict }) => verdict === 'panicked')!;
    assert.match(htmlReport(merged), new RegExp(`ran in</th><td>shard ${shard}, on runner-${shard}<`));
    assert.match(htmlReport(merged), /with 8 jobs, in 4 shards/);
    assert.match(markdownReport(merged), new RegExp(`\\*\\*panicked\\*\\*.*runner-${shard}`));
    assert.match(markdownReport(merged), /^- shard 4, runner-4: \d cells? in 3\.00 s$/m);
  });

  const broken: Record<string, [(files: ReportFile[]) => ReportFile[], RegExp]> = {
    'none at all': [() => [], /no report to merge/],
    'one twice': [
      files => [...files, { ...files[1]!, file: 'again.json' }],
      /^again\.json: shard 2 of 4, as is shard-2\.json/,
    ],
    'one missing': [files => files.toSpliced(2, 1), /^1 shard of 4 missing: 3\/4; run/],
    'several missing': [files => files.slice(0, 1), /^3 shards of 4 missing: 2\/4, 3\/4, 4\/4/],
    'a whole run': [
      files => [...files, { file: 'all.json', report: wholeReport() }],
      /^all\.json: the report of a whole run/,
    ],
    'a merged one': [files => [{ file: 'm.json', report: mergeReports(files) }], /^m\.json: has been merged already/],
    'another version': [
      change(report => (report.polyvisor = '9')),
      /^shard-3.json: of another run than shard-1.json: polyvisor "9", not "0\.1\.0"/,
    ],
    'another kernel': [change(report => (report.kernels[0]!.name = 'x')), /shard-3.*kernels "x, broken/],
    'another hypervisor': [change(report => void report.hypervisors.pop()), /shard-3.*hypervisors "plain, quick"/],
    'another test': [change(report => (report.test = 'a.sh')), /shard-3.*test "a\.sh"/],
    'another clock': [change(report => (report.clock = 'host')), /shard-3.*clock "host"/],
    'another count': [change(report => (report.shard!.count = 5)), /shard-3.*number of shards "5", not "4"/],
    'another plan': [
      change(report => (report.shard!.plan = 'q')),
      /^shard-3.json: of another run .* the bytes of a kernel/,
    ],
    'a number that is none': [
      change(report => (report.shard!.index = 9)),
      /^shard-3.json: a damaged report: .* shard 9 of 4/,
    ],
    'a date that is none': [change(report => (report.date = 'today')), /^shard-3.json: a damaged report: its date/],
    'a cell lost': [change(report => void report.cells.pop()), / on .* is in none of the reports/],
    'a cell twice': [
      change(report => void report.cells.push(report.cells[0]!)),
      /^shard-3.json: .* is in shard-3.json, too/,
    ],
    'a strange cell': [
      change(report => void report.cells.push(passedCell('who', 'plain', 1))),
      /^shard-3.json: who on plain is of no kernel/,
    ],
    'a thousand million shards': [
      files =>
        files.map(({ file, report }) => ({ file, report: { ...report, shard: { ...report.shard!, count: 1e9 } } })),
      /^999999996 shards of 1000000000 missing: 5\/1000000000, .*…; run/,
    ],
  };
  function change(how: (report: MatrixReport) => unknown) {
    return (files: ReportFile[]) => {
      how(files[2]!.report);
      return files;
    };
  }
  for (const [name, [spoil, message]] of Object.entries(broken))
    test(`${name}: refused with what is wrong and what to do`, () => {
      assert.throws(
        () => mergeReports(spoil(shardsOf(wholeReport(), 4))),
        (error: unknown) => (error instanceof MergeError && message.test(error.message)) || assert.fail(`${error}`),
      );
    });
});
