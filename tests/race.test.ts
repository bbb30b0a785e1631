/** A guest with a planted race: seeds find it, the fair schedule does not, and the seed that found it finds it again. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { createMachine } from '../src/index.ts';
import type { CellResult, MatrixReport } from '../src/matrix/result.ts';
import { assembled } from './assembled.ts';
import { polyvisor, program } from './command.ts';

const kernel = tinyKernel([...assembled('race')]);
const folder = mkdtempSync(join(tmpdir(), "it's "));
const file = join(folder, 'race');
writeFileSync(file, kernel);
after(() => rmSync(folder, { recursive: true }));

async function run(schedule: 'fair' | number) {
  let shown = '';
  const machine = await createMachine({
    kernel,
    memory: 16 << 20,
    cpus: 2,
    schedule,
    console: { write: data => void (shown += Buffer.from(data)), onInput: () => {} },
  });
  const { kind } = await machine.run({ instructions: 20_000_000 });
  return { kind, shown, instructions: machine.statistics.instructions };
}

/** The first seed that loses an update. */
let found = 1;

test('is found within 50 seeds, and again by its seed; the fair schedule does not find it', async () => {
  assert.deepEqual(pick(await run('fair')), { kind: 'power-off', shown: 'no update lost\n' });
  while (found <= 50 && (await run(found)).kind === 'power-off') found++;
  assert.ok(found > 1 && found <= 50, `seed ${found} is the first red one`);
  const first = await run(found);
  assert.deepEqual(pick(first), { kind: 'dead-halt', shown: 'an update was lost\n' });
  for (let again = 1; again <= 10; again++) assert.deepEqual(await run(found), first);
});

test('run --schedule A-B names the seed that finds it, and the command that finds it again', async () => {
  const words = ['run', '-k', file, '-m', '16M', '--cpus', '2', '--clock', 'virtual', '--net', 'none'];
  const { status, stdout, stderr } = await polyvisor([...words, `--schedule=${found - 1}-${found + 1}`]);
  assert.equal(status, 123, stderr);
  assert.match(stdout, /no update lost\n.*an update was lost\n/s);
  const [, line] = stderr.match(
    new RegExp(`^polyvisor: schedule ${found} ended with status 123; once more: polyvisor (.*)$`, 'm'),
  )!;
  assert.match(stderr, new RegExp(`^polyvisor: \\d of 3 schedules ended badly: (\\d+, )*${found}\\b`, 'm'));
  // The shell takes it as it is printed.
  const again = spawnSync('sh', ['-c', `exec "$0" ${line}`, program], { encoding: 'utf8', timeout: 60_000 });
  assert.equal(again.status, 123, again.stderr);
  assert.equal(again.stdout, 'an update was lost\n');
});

test('matrix --schedules names the seed that finds it in every report, and the command that finds it again', async () => {
  const path = (name: string) => join(folder, name);
  const words = ['matrix', file, '-H', 'bare', '-m', '16M', '--cpus', '2', '-i', file, '--until', 'no update lost'];
  const reports = ['--json', path('r.json'), '--html', path('r.html'), '--junit', path('r.xml'), '--markdown'];
  const { status, stdout, stderr } = await polyvisor([
    ...words,
    ...reports,
    `--schedules=${Math.max(1, found - 1)}-${found + 1}`,
  ]);
  assert.equal(status, 1, stderr);
  assert.match(stderr, new RegExp(`bare schedule ${found}  hung`));
  const { cells } = JSON.parse(readFileSync(path('r.json'), 'utf8')) as MatrixReport;
  assert.equal(cells.length, 1, 'one cell, however many seeds');
  const [{ verdict, reason, schedules, repeat }] = cells as [CellResult];
  assert.equal(verdict, 'hung');
  assert.match(reason, new RegExp(`^schedule ${found}: .*; \\d of \\d schedules (is|are) red: ${found}\\b`));
  const red = schedules!.find(({ seed }) => seed === found)!;
  assert.equal(red.verdict, 'hung');
  assert.ok(schedules!.some(run => run.verdict === 'passed'));
  assert.match(stdout, /^```text\npolyvisor matrix /m);
  assert.ok(readFileSync(path('r.html'), 'utf8').includes('<h3>Once more</h3>'));
  assert.match(readFileSync(path('r.xml'), 'utf8'), /<failure type="hung" .*>polyvisor matrix /);
  // The shell takes it as it is printed, and the run is the same to the instruction.
  const line = repeat!.replace(/^polyvisor /, '');
  const again = spawnSync('sh', ['-c', `exec "$0" ${line} --json "$1"`, program, path('again.json')], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(again.status, 1, again.stderr);
  const [once] = (JSON.parse(readFileSync(path('again.json'), 'utf8')) as MatrixReport).cells;
  assert.deepEqual([once!.verdict, once!.total.instructions], ['hung', red.instructions]);
  const plain = await polyvisor([...words, `--schedules=${found}-${found}`]);
  assert.match(plain.stdout, /\n {2}once more: polyvisor matrix .* --schedule \d+\n/);
});

test('schedules that all end well, and what cannot be', async () => {
  const words = ['run', '-k', file, '-m', '16M', '--cpus', '2', '--schedule', `${found - 1}-${found - 1}`];
  const green = await polyvisor([...words, '--clock', 'virtual']);
  assert.deepEqual([green.status, green.stdout], [0, 'no update lost\n']);
  assert.match(green.stderr, /^polyvisor: 1 schedule ended with status 0$/m);
  for (const [refused, reason] of [
    [[], /add --clock virtual/],
    [['--clock', 'virtual', '--json', join(folder, 'x')], /--json is for one run/],
    [['--clock', 'virtual', '--disk', file], /add ",ro" to --disk/],
    [['--clock', 'virtual', '--schedule', '3-2'], /--schedule 3-2: the first seed, a hyphen, and the last one/],
  ] as const) {
    const { status, stderr } = await polyvisor([...words, ...refused]);
    assert.equal(status, 64);
    assert.match(stderr, reason);
  }
  const missing = await polyvisor([...words, '--clock', 'virtual', '-k', join(folder, 'none'), '--schedule', '1-50']);
  assert.equal(missing.status, 66);
  assert.equal(missing.stderr.match(/no such file/g)?.length, 1, 'is said once, not with every seed');
});

const pick = ({ kind, shown }: Awaited<ReturnType<typeof run>>) => ({ kind, shown });
