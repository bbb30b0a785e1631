import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { BaselineError, compareWithBaseline, parseBaseline } from './baseline.ts';
import { describeChange, groupChanges } from './changes.ts';
import { createExcerpt } from './excerpt.ts';
import { formatCount, formatSeconds } from './format.ts';
import { createFinder } from './found.ts';
import { htmlReport } from './html.ts';
import { junitReport } from './junit.ts';
import { markdownReport } from './markdown.ts';
import { createMemoryDisk } from './memory-disk.ts';
import { createPhaseTracker } from './phases.ts';
import { type Cost, emptyCounts } from './result.ts';
import { isSuccess, summarise } from './summary.ts';
import { CONSOLE_LINE, CONSOLE_LINES, STAMP, scriptedTests } from './test-script.ts';
import { createTestWatch } from './test-watch.ts';
import { exampleReport, liveMarkdown, NASTY, passedCell } from './testing.ts';
import { judge, type Outcome } from './verdict.ts';

/** A machine's cost that the test moves on by hand: all three measures alike. */
function manualCost() {
  let at = 0;
  return {
    now: (): Cost => ({ hostTime: at, guestTime: at, instructions: at * 1e9 }),
    advance: (seconds: number) => void (at += seconds),
  };
}

describe('phases', () => {
  test('are told by the lines of a Linux boot, each with its cost', () => {
    const { now, advance } = manualCost();
    const tracker = createPhaseTracker(now);
    for (const [seconds, line] of [
      [1, '[    0.000000] Linux version 6.1.0'],
      [2, '[    0.100000] devtmpfs: initialized'],
      [4, '[    0.200000] Run /init as init process'],
    ] as const) {
      advance(seconds);
      tracker.line(line);
    }
    advance(8);
    tracker.enter('test');
    tracker.line('[    0.0] devtmpfs: initialized'); // A test may print what it likes.
    advance(16);
    assert.deepEqual(
      tracker.results.map(({ phase, hostTime }) => [phase, hostTime]),
      [
        ['entry', 1],
        ['early boot', 2],
        ['drivers', 4],
        ['init', 8],
        ['test', 16],
      ],
    );
  });

  test('never go back, and empty lines are no sign of life', () => {
    const tracker = createPhaseTracker(manualCost().now);
    tracker.line('  ');
    assert.equal(tracker.phase, 'entry');
    tracker.line('x Run /sbin/init as init process');
    tracker.line('x NET: Registered PF_NETLINK/PF_ROUTE protocol family');
    assert.equal(tracker.phase, 'init');
  });
});

describe('verdicts', () => {
  const outcome: Outcome = {
    exit: { kind: 'power-off' },
    phase: 'power-off',
    status: 0,
    tests: [],
    current: undefined,
    seen: false,
    flooded: false,
  };
  const cases: [Partial<Outcome>, string, RegExp][] = [
    [{}, 'passed', /^$/],
    [{ status: 3 }, 'failed', /status 3/],
    [{ status: 1, tests: [{ name: 'sleep', outcome: 'failed', note: 'early' }] }, 'failed', /sleep: early/],
    [{ tests: [{ name: 'clock', outcome: 'failed' }] }, 'failed', /clock/],
    [{ exit: { kind: 'timeout' } }, 'hung', /did not power off/],
    [{ exit: { kind: 'panic', reason: 'x' } }, 'panicked', /did not power off: x/],
    [{ status: undefined, exit: { kind: 'timeout' }, phase: 'entry' }, 'hung', /before it printed/],
    [{ status: undefined, exit: { kind: 'timeout' }, phase: 'test', current: 'timers' }, 'hung', /at timers/],
    [
      { status: undefined, exit: { kind: 'panic', reason: 'no init' }, phase: 'drivers' },
      'panicked',
      /no init in its drivers/,
    ],
    [{ status: undefined, exit: { kind: 'dead-halt' }, phase: 'init' }, 'hung', /halted for ever/],
    [{ status: undefined, exit: { kind: 'reset' }, phase: 'early boot' }, 'reset', /early boot/],
    [{ status: undefined, exit: { kind: 'triple-fault', reason: '' }, phase: 'entry' }, 'crashed', /triple fault/],
    [{ status: undefined, exit: { kind: 'killed', reason: 'bad call' }, phase: 'entry' }, 'crashed', /bad call/],
    [{ status: undefined, phase: 'init' }, 'ended', /powered off in its init/],
    [{ status: undefined, exit: { kind: 'stopped' }, flooded: true, phase: 'test' }, 'flooded', /without end/],
    [{ status: undefined, exit: { kind: 'stopped' }, seen: true, phase: 'init' }, 'passed', /^$/],
  ];
  for (const [changes, verdict, reason] of cases)
    test(`${JSON.stringify(changes)} is ${verdict}`, () => {
      const judged = judge({ ...outcome, ...changes });
      assert.equal(judged.verdict, verdict);
      assert.match(judged.reason, reason);
    });
});

describe('the built-in test, read along', () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const us = '\x1f';

  function watched(epoch = 1000, stolen = { seconds: 0 }) {
    const cost = manualCost();
    const facts: string[] = [];
    const watch = createTestWatch({
      now: cost.now,
      epoch: () => epoch,
      stolen: () => stolen.seconds,
      fact: (name, value) => void facts.push(`${name}=${value}`),
    });
    return { ...cost, watch, facts, say: (text: string) => watch.feed(encode(`${us}${text}\n`)) };
  }

  test('what an item costs is measured, and only our lines are taken out', () => {
    const { watch, advance, say, facts } = watched();
    assert.equal(watch.feed(encode(`hello\n${us}begin mm`)), 'hello\n');
    watch.feed(encode(`ap\n`));
    assert.equal(watch.current, 'mmap');
    advance(2);
    say('end mmap passed');
    say('fact clocksource tsc');
    assert.deepEqual(watch.results, [
      { name: 'mmap', outcome: 'passed', hostTime: 2, guestTime: 2, instructions: 2e9 },
    ]);
    assert.deepEqual(facts, ['clocksource=tsc']);
  });

  test('a clock that goes wrong and one that is wrong fail, a right one does not', () => {
    const outcomes = [
      [1000, 1000.5],
      [1000, 1000.7],
      [1010, 1010.5],
      [Number.NaN, Number.NaN],
    ].map(stamps => {
      const { watch, advance, say } = watched(1000);
      say('begin clock');
      say(`stamp ${Math.floor(stamps[0]!)} ${Math.round((stamps[0]! % 1) * 1e6)}`);
      advance(0.5);
      say(`stamp ${Math.floor(stamps[1]!)} ${Math.round((stamps[1]! % 1) * 1e6)}`);
      say('end clock passed');
      return watch.results[0]!.outcome;
    });
    assert.deepEqual(outcomes, ['passed', 'failed', 'failed', 'failed']);
  });

  test('sleeps that end early or much too late fail', () => {
    const outcomes = [0.21, 0.15, 1.5].map(seconds => {
      const { watch, advance, say } = watched();
      say('begin sleep');
      advance(seconds);
      say('end sleep passed');
      return watch.results[0]!.outcome;
    });
    assert.deepEqual(outcomes, ['passed', 'failed', 'failed']);
  });

  test('a sleep that ends late is not held against a guest from which the host took time meanwhile', () => {
    const outcomes = [0.04, 3].map(taken => {
      const stolen = { seconds: 7 };
      const { watch, advance, say } = watched(1000, stolen);
      say('begin sleep');
      advance(1.5);
      stolen.seconds += taken;
      say('end sleep passed');
      return watch.results[0]!;
    });
    assert.deepEqual(
      outcomes.map(({ outcome }) => outcome),
      ['failed', 'skipped'],
    );
    assert.match(outcomes[1]!.note!, /too busy to judge, it took 3\.0 s: a sleep ended 130 ms late/);
  });

  test('the clock is read in two ways: by adjtimex, and on kernels before 2.6.39 from /proc', () => {
    const shell = (adjtimex: string) =>
      execFileSync('sh', ['-c', `say() { echo "$*"; }\nadjtimex() { ${adjtimex}; }\n${STAMP}\nstamp`], {
        encoding: 'utf8',
      });
    assert.equal(shell(`echo '    time.tv_sec:  1767225600'; echo '    time.tv_usec: 77'`), 'stamp 1767225600 77\n');
    const [, seconds, microseconds] = /^stamp (\d+) (\d{6})\n$/.exec(shell('return 1')) ?? [];
    const now = Number(seconds) + Number(microseconds) / 1e6;
    assert.ok(Math.abs(now - Date.now() / 1000) < 60, `${now}`);
  });

  test('what the console loses or changes is noticed', () => {
    const run = (lines: string[]) => {
      const { watch, advance, say } = watched();
      say('begin console');
      assert.equal(watch.feed(encode(lines.map(line => `${line}\n`).join(''))), '');
      advance(1);
      say('end console passed');
      return watch.results[0]!;
    };
    const right: string[] = new Array(CONSOLE_LINES).fill(CONSOLE_LINE);
    assert.equal(run(right).outcome, 'passed');
    assert.match(`${run(right).value}`, /^16\.384$/);
    assert.match(run(right.slice(1)).note!, /255 of 256/);
    assert.match(run([...right.slice(1), 'x']).note!, /255 of 256/);
  });

  test('a script that floods, lies or never ends a line stays bounded', () => {
    const { watch, say } = watched();
    for (let index = 0; index < 1000; index++) say(`begin t${index}`);
    assert.ok(watch.results.length <= 200);
    watch.feed(encode(`${us}${'x'.repeat(1 << 20)}`));
    say('end nothing passed');
    say('stamp');
    say('begin');
  });

  test('has all that the issue of paravirtualization touches', () => {
    for (const name of ['clock', 'sleep', 'timers', 'fork-exec', 'page-faults', 'mmap', 'signals', 'disk', 'console'])
      assert.ok(scriptedTests(true).includes(name), name);
  });
});

test('what the guest found is read off its log, what it uses off the counts', () => {
  const finder = createFinder('good-visor');
  for (const line of [
    '[    0.000000] Hypervisor detected: Goodvisor',
    '[    0.000001] Good-Visor: feature 7',
    '[    0.1] Booting paravirtualized kernel on Goodvisor',
    '[    0.2] something else',
    'good: a program says so',
    '[    0.3] WARNING: CPU: 0 PID: 1 at x.c:1',
    '[    0.4] installing a timer; TSC unstable due to running on it',
  ])
    finder.line(line);
  finder.fact('clocksource', 'good-clock');
  const counts = {
    ...emptyCounts(),
    hypercalls: { GOOD_CALL: 1 },
    msrs: { 'write MSR_GOOD': 1, 'write IA32_EFER': 1, 'read MSR_OTHER': 1 },
  };
  const found = finder.result(counts, new Set(['MSR_GOOD', 'MSR_OTHER']));
  assert.equal(found.hypervisor, 'Goodvisor');
  assert.equal(found.platform, 'Goodvisor');
  assert.equal(found.clocksource, 'good-clock');
  assert.deepEqual(found.features, ['GOOD_CALL', 'MSR_GOOD']);
  assert.equal(found.lines.length, 3);
  assert.equal(found.complaints.length, 1);
});

test('an excerpt keeps the beginning and the end of any length', () => {
  const excerpt = createExcerpt();
  const piece = new TextEncoder().encode(`${'x'.repeat(1023)}\n`);
  excerpt.add(new TextEncoder().encode('the beginning\n'));
  for (let index = 0; index < 4096; index++) excerpt.add(piece);
  excerpt.add(new TextEncoder().encode('the end'));
  assert.ok(excerpt.text.length < 400_000);
  assert.match(excerpt.text, /^the beginning\n[\s\S]*characters left out[\s\S]*the end$/);
});

test('a disk in memory refuses what lies outside of it', () => {
  const disk = createMemoryDisk('d', 1024, 'label');
  disk.write(1020, Uint8Array.of(1, 2, 3, 4));
  const into = new Uint8Array(5);
  disk.read(0, into);
  assert.equal(new TextDecoder().decode(into), 'label');
  assert.throws(() => disk.read(1020, into), RangeError);
  assert.throws(() => disk.write(-1, into), RangeError);
});

describe('baselines', () => {
  const compared = (change: (report: ReturnType<typeof exampleReport>) => void) => {
    const [before, after] = [exampleReport(), exampleReport()];
    change(after);
    compareWithBaseline(after, before, 0.02, 'old.json');
    return after;
  };

  test('equal reports have no changes', () => {
    const report = compared(() => {});
    assert.deepEqual(
      report.cells.flatMap(({ changes }) => changes ?? []),
      [],
    );
    assert.deepEqual(report.baseline?.notes, []);
  });

  test('what costs more, is lost or is new is named; what costs less is no worse', () => {
    const report = compared(({ cells }) => {
      const [first, second] = cells;
      first!.phases[2]!.instructions *= 1.5;
      first!.phases[0]!.instructions *= 1.01;
      first!.found.features = ['EXAMPLE_CALL', 'MSR_EXAMPLE_NEW'];
      first!.found.clocksource = 'hpet';
      second!.phases[2]!.instructions *= 0.5;
      second!.tests[0]!.outcome = 'failed';
    });
    const [first, second] = report.cells;
    assert.deepEqual(first!.changes, [
      { what: 'clocksource', before: 'tsc', after: 'hpet', worse: false },
      { what: 'feature', before: 'MSR_EXAMPLE_CLOCK', after: 'not used any more', worse: true },
      { what: 'feature', before: 'none', after: 'MSR_EXAMPLE_NEW', worse: false },
      { what: 'drivers, instructions', before: '400 M', after: '600 M (+50 %)', worse: true, share: 0.5 },
    ]);
    assert.deepEqual(
      second!.changes?.map(({ what, worse }) => [what, worse]),
      [
        ['drivers, instructions', false],
        ['test fork-exec', true],
      ],
    );
    assert.equal(isSuccess(report), false);
  });

  test('what all cells of a kernel share is said once, with the range of it', () => {
    const report = compared(({ cells }) => {
      for (const [index, { phases, found }] of cells.filter(({ phases }) => phases.length > 0).entries()) {
        phases[2]!.instructions *= 1.5 + index / 10;
        found.clocksource = 'hpet';
        found.features = [...found.features, `MSR_NEW_${index}`];
      }
    });
    const booted = report.cells.filter(({ changes }) => changes);
    assert.ok(booted.length > 1 && booted.every(({ kernel }) => kernel === booted[0]!.kernel));
    const [shared, ...own] = groupChanges(report);
    assert.deepEqual(
      shared?.hypervisors,
      booted.map(({ hypervisor }) => hypervisor),
    );
    assert.deepEqual(
      shared?.changes.map(({ what }) => what),
      ['clocksource', 'drivers, instructions'],
    );
    const [clocksource, drivers] = shared!.changes.map(change => describeChange(change));
    assert.match(clocksource!, /→ hpet$/);
    assert.match(drivers!, /^\+50 % to \+\d+ %$/);
    assert.deepEqual(
      own.map(({ hypervisors }) => hypervisors.length),
      booted.map(() => 1),
    );
    assert.deepEqual(
      own[1]?.changes.map(({ what, after }) => [what, after]),
      [['feature', 'MSR_NEW_1']],
    );
  });

  test('a cell that was green and is red is worse, one that was red already is not', () => {
    const report = compared(({ cells }) => {
      cells[0]!.verdict = 'hung';
      cells[3]!.verdict = 'hung';
    });
    assert.deepEqual(report.cells[0]!.changes, [{ what: 'verdict', before: 'passed', after: 'hung', worse: true }]);
    assert.equal(report.cells[3]!.changes![0]!.worse, false);
  });

  test('another kernel version is compared in its place, other clocks and tests are not', () => {
    const report = compared(report => {
      report.clock = 'host';
      report.test = 'mine.sh';
      for (const kernel of report.kernels) kernel.name += '-new';
      for (const cell of report.cells) {
        cell.kernel += '-new';
        cell.total.instructions *= 9;
        for (const phase of cell.phases) phase.instructions *= 9;
      }
    });
    assert.match(report.baseline!.notes.join('\n'), /6\.1\.0-1-new is compared with 6\.1\.0-1/);
    assert.match(report.baseline!.notes.join('\n'), /virtual clock/);
    assert.deepEqual(report.cells[0]!.changes, undefined);
  });

  for (const [name, text, says] of [
    ['no JSON', 'hello', /not JSON/],
    ['another JSON', '{"a": 1}', /no report/],
    ['null', 'null', /no report/],
    ['another format', JSON.stringify({ ...exampleReport(), format: 99 }), /format 99/],
    ['a damaged one', JSON.stringify({ ...exampleReport(), cells: [{ kernel: 'x' }] }), /damaged/],
  ] as const)
    test(`${name} is refused`, () => {
      assert.throws(
        () => parseBaseline(text),
        (error: Error) => error instanceof BaselineError && says.test(error.message),
      );
    });

  test('what --json writes is read back', () =>
    assert.deepEqual(parseBaseline(JSON.stringify(exampleReport())), exampleReport()));
});

describe('reports', () => {
  const report = exampleReport();

  test('the summary counts', () => assert.equal(summarise(report), '2 of 5 cells passed, 1 not built for it'));

  test('Markdown has a cell each, and says what went wrong', () => {
    const text = markdownReport(report);
    assert.match(text, /\| 6\.1\.0-1 \| ✅ 10\.0 s \| ✅ 5\.00 s \| ➖ not built for it \|/);
    assert.match(text, /❌ panicked in drivers/);
    assert.match(text, /❌ failed in test/, 'where it failed, and not how far it came after that');
    assert.match(text, /Kernel panic - not syncing/);
    assert.ok(!liveMarkdown(text).includes('<script>') && !text.includes('\x1b'));
  });

  test('JUnit is well-formed and counts as CI systems do', () => {
    const text = junitReport(report);
    assert.match(text, /<testsuite name="6\.1\.0-1" tests="3" failures="0" skipped="1"/);
    assert.match(text, /<testsuite name="broken" tests="3" failures="3" skipped="0"/);
    assert.ok(!text.includes('<script>') && !text.includes('\x1b'));
    // Every tag is closed, in order.
    const open: string[] = [];
    for (const [, close, name, empty] of text.matchAll(/<(\/?)([a-z-]+)[^>]*?(\/?)>/g))
      if (close) assert.equal(open.pop(), name);
      else if (!empty) open.push(name!);
    assert.deepEqual(open, []);
  });

  test('HTML is one page without scripts, whatever the guests print', () => {
    const text = htmlReport(report);
    assert.doesNotMatch(text, /<script|https?:/);
    assert.ok(!text.includes('\x1b'));
    assert.ok(text.includes('&lt;script&gt;alert(1)'));
    assert.equal(text.match(/<details /g)?.length, report.cells.length);
  });

  test('a report of nothing can be written, too', () => {
    const empty = { ...report, cells: [], kernels: [], hypervisors: [] };
    for (const write of [htmlReport, junitReport, markdownReport]) assert.ok(write(empty).length > 0);
    assert.ok(htmlReport({ ...report, cells: report.cells.filter(({ phases }) => phases.length === 0) }));
  });

  test('numbers are short', () => {
    assert.deepEqual([0.0012, 0.05, 1.234, 12.34, 123.4].map(formatSeconds), [
      '1.2 ms',
      '50 ms',
      '1.23 s',
      '12.3 s',
      '123 s',
    ]);
    assert.deepEqual([0, 999, 1000, 999_999, 12_345_678, 2.5e9].map(formatCount), [
      '0',
      '999',
      '1.00 k',
      '1.00 M',
      '12.3 M',
      '2.50 G',
    ]);
  });

  test('the example says what it is meant to', () => {
    assert.ok(report.cells[3]!.reason.includes(NASTY));
    assert.equal(passedCell('a', 'b', 1).phases.length, 6);
  });
});
