/** The benchmarks' own machinery, with a shell script in the guest's place. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { geometricMean, median, type Row, speedAgainst } from '../bench/bench.ts';
import { difference } from '../bench/counters.ts';
import { hexadecimal, randomNumbers } from '../bench/devices.ts';
import { BenchGuest } from '../bench/guest.ts';
import { familyBesideRam, processorSeconds, residentBesideRam } from '../bench/host-use.ts';
import { plot } from '../bench/plot.ts';
import { formatTable, timeTables } from '../bench/report.ts';
import { root } from '../bench/root.ts';
import { sampleText } from '../bench/sample-text.ts';
import { compare } from '../bench/smp.ts';
import { findWorkloads, hasCompiler, makeWorkloads, runNatively, type Workload } from '../bench/workloads.ts';

/** What bench/driver.sh does, with a console of its own that ends its lines like a serial port's. */
const DRIVER = `printf 'booting\\r\\n@ready\\r\\n'
while read -r name; do
  printf '@start\\r\\n'
  case $name in
    good) sleep 0.2; printf '[   12.345678] rcu: said something\\r\\nanswer\\r\\n'; printf '@end 0\\r\\n' ;;
    bad) printf 'no such thing\\r\\n@end 127\\r\\n' ;;
    panic) echo 'Kernel panic - not syncing: test'; exit 1 ;;
  esac
done`;
const command = { name: 'shell', command: 'sh', args: ['-c', DRIVER] };

test('a run is timed between its marks, and its output kept apart from the kernel', async () => {
  const guest = await BenchGuest.boot(command, 10);
  const { seconds, output, kernel } = await guest.run('good');
  assert.ok(seconds >= 0.19 && seconds < 5, `${seconds} s`);
  assert.equal(output, 'answer\n');
  assert.deepEqual(kernel, ['[   12.345678] rcu: said something\n']);
  await guest.stop();
});

test('a workload that fails, a guest that dies and one that hangs are told apart', async () => {
  const guest = await BenchGuest.boot(command, 10);
  await assert.rejects(guest.run('bad'), /bad ended with status 127: no such thing/);
  await assert.rejects(guest.run('panic'), /ended with status 1; its console ended with[\s\S]*Kernel panic/);
  const slow = await BenchGuest.boot(command, 0.5);
  await assert.rejects(slow.run('hang'), /no .*@end.* in 0\.5 s/);
  await slow.stop();
  await assert.rejects(BenchGuest.boot({ ...command, args: ['-c', 'echo Kernel panic - no; sleep 9'] }, 5), /panic/);
});

const rows: Row[] = [
  { group: 'g', name: 'a', title: 'A <b>', seconds: { polyvisor: [1, 9, 2], peer: [4] } },
  { group: 'g', name: 'c', title: 'C', seconds: { polyvisor: [2], peer: [1] } },
  { group: 'g', name: 'd', title: 'D', seconds: { peer: [1] } },
];

test('medians, speeds and means', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1]), 2.5);
  assert.ok(Math.abs(geometricMean([2, 8]) - 4) < 1e-9);
  assert.deepEqual(
    rows.map(row => speedAgainst('peer', row)),
    [2, 0.5, undefined],
  );
  const lines = formatTable(timeTables(rows)[0]).split('\n');
  assert.match(lines[2], /^ {2}a +2\.000 s +4\.000 s +2\.00 x$/);
  assert.match(lines[4], /^ {2}d +- +1\.000 s +-$/);
  assert.match(lines[5], /geometric mean +1\.00 x$/);
});

test('the plot has a line a workload, and nothing of a title becomes markup', () => {
  const options = { html: false, host: { node: 'v20', processor: 'x', processors: 2 } };
  const svg = plot(rows, options);
  assert.match(svg, /^<svg [\s\S]*prefers-color-scheme: dark[\s\S]*<\/svg>\n$/);
  assert.equal(svg.match(/<g>/g)?.length, 4);
  assert.ok(svg.includes('A &lt;b&gt;') && !svg.includes('<b>'));
  assert.ok(!/NaN|undefined|Infinity/.test(svg + plot([], options)));
  assert.match(plot(rows, { ...options, html: true }), /^<!doctype html>[\s\S]*<svg/);
});

test('counters are subtracted, whatever they are', () => {
  const before = { name: 'x', n: 5, exits: { a: 1 } as Record<string, number> };
  assert.deepEqual(difference({ name: 'x', n: 7, exits: { a: 1, b: 4 } }, before), {
    name: 'x',
    n: 2,
    exits: { a: 0, b: 4 },
  });
});

test('what a process takes of the host', { skip: process.platform !== 'linux' && 'needs /proc' }, () => {
  assert.ok(processorSeconds(process.pid)! > 0);
  const all = residentBesideRam(process.pid, 2 ** 52)!; // No mapping is that large: nothing is taken for RAM.
  assert.ok(Math.abs(all - process.memoryUsage().rss) < 64 << 20, `${all} bytes`);
  assert.equal(familyBesideRam(process.pid, 2 ** 52), undefined, 'there is no guest');
  const ram = 64 << 20;
  const filled = Buffer.alloc(ram, 1);
  const family = familyBesideRam(process.pid, ram);
  assert.ok(family && filled[0] === 1);
  assert.ok(Math.abs(family.resident + ram - process.memoryUsage().rss) < 32 << 20, `${family.resident} bytes`);
  // Other processes have the same program's text.
  assert.ok(family.own > 0 && family.own <= family.resident, `${family.own} of ${family.resident} bytes`);
  assert.ok(family.all > 0 && family.all < family.resident + ram);
});

const native = process.platform === 'linux' && process.arch === 'x64' && hasCompiler();
test('numbers are drawn as the programs in the guest draw them, and shown as they show them', {
  skip: !native && 'needs gcc',
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'bench-numbers-'));
  try {
    const source = join(folder, 'draw.c');
    writeFileSync(
      source,
      `#include "${join(root, 'guests/bench/runtime.h')}"
static uint32_t run(int argc, char **argv) { uint32_t sum = 0; for (int i = 0; i < 1000; i++) sum += random32(); return sum; }`,
    );
    const draw: Workload = { name: 'draw', title: 'draws numbers', group: 'devices', source };
    makeWorkloads([draw], folder, 'amd64');
    let sum = 0;
    const numbers = randomNumbers();
    for (let i = 0; i < 1000; i++) sum += numbers.next().value;
    assert.equal(runNatively(draw, folder)?.output, `${hexadecimal(sum)}\n`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the sample text is always the same', () => {
  const text = sampleText();
  assert.ok(text.length > 4 << 20 && text.endsWith('\n'));
  assert.equal(text, sampleText());
  assert.match(text.slice(0, 200), /^\d+( [a-z]+)+\n/);
});

test('several processors: who is ahead with each number, and what idle ones cost', () => {
  const result = (name: string, isPeer: boolean, one: number, four: number) => {
    const times = (boot: number) => ({ boot: [boot], sieve: [boot, 9, boot] });
    return { name, isPeer, times: new Map([1, 4].map(count => [count, times(count === 1 ? one : four)])) };
  };
  const results = [result('ours', false, 2, 3), result('slower', false, 3, 3), result('tcg', true, 3, 2)];
  const { tables, notes } = compare(results, [1, 4]);
  const [one, four, cost] = tables.map(formatTable);
  assert.match(
    one!,
    /with 1 processor;.*\n +ours +slower +tcg +ahead\n +boot +2\.000 +3\.000 +3\.000 +ours, 1\.50 x\n +sieve/,
  );
  assert.match(four!, /with 4 processors;[\s\S]* boot +3\.000 +3\.000 +2\.000 +tcg, 1\.50 x\n/);
  assert.match(cost!, / ours +1\.50 x +1\.50 x +- +- +- +1\.50 x\n +slower +1\.00 x/);
  assert.deepEqual(
    notes.map(note => note.replace(/;.*/, '')),
    [
      'ours: the boot takes 1.50 times as long with 4 processors as with one',
      'ours: the work of one thread takes 1.50 times as long with 4 processors as with one',
    ],
  );
  assert.equal(compare(results, [4]).tables.length, 1);
});

test('every workload has a title; programs compile and say the same twice', { skip: !native && 'needs gcc' }, () => {
  const workloads = findWorkloads();
  for (const { name, title } of workloads) assert.ok(title.length > 10, name);
  assert.equal(new Set(workloads.map(({ name }) => name)).size, workloads.length);
  const programs = workloads.filter(({ group }) => group === 'programs');
  assert.ok(programs.length >= 10);
  const devices = workloads.filter(({ group }) => group === 'devices');
  assert.deepEqual(
    devices.map(({ name }) => name),
    ['disk', 'network'],
  );
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  try {
    const shared = workloads.filter(({ group }) => group === 'smp');
    assert.ok(shared.length >= 4);
    makeWorkloads([...programs, ...shared], folder, 'amd64');
    const small = programs.filter(({ name }) => ['simd-float', 'n-body'].includes(name));
    for (const program of shared) {
      const { output } = runNatively(program, folder)!;
      assert.match(output, /^(operations 0x[0-9a-f]{8}\n)?[0-9a-f]{8}\n$/);
      assert.equal(runNatively(program, folder)!.output, output, 'whatever thread comes first');
    }
    for (const program of small) {
      const { output } = runNatively(program, folder)!;
      assert.match(output, /^[0-9a-f]{8}\n$/);
      assert.equal(runNatively(program, folder)!.output, output);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
