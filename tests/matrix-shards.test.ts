/** A matrix on four machines: four runs of `matrix --shard`, merged, are the report of one run, cell for cell. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { parseHistory } from '../src/matrix/history.ts';
import { type CellResult, type MatrixReport, NO_COST } from '../src/matrix/result.ts';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-shards-'));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);
const read = (name: string) => JSON.parse(readFileSync(path(name), 'utf8')) as MatrixReport;

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(path(name), content);
  return path(name);
}

/** mov dx, 0x3f8; mov al, C; out dx, al; …; then for ever to itself. */
const print = (text: string) => [0x66, 0xba, 0xf8, 0x03, ...[...text].flatMap(c => [0xb0, c.charCodeAt(0), 0xee])];
const FOR_EVER = [0xeb, 0xfe];

/** All that the wall's clock has no part in. */
function repeatable({ shard: _, total, phases, ...cell }: CellResult) {
  const costs = phases.map(phase => ({ ...phase, hostTime: 0 }));
  return { ...cell, total: { ...NO_COST, ...total, hostTime: 0 }, phases: costs };
}

describe('four shards', { timeout: 300_000 }, () => {
  const kernels = [
    file('lives', tinyKernel([...print('I am alive\n'), ...FOR_EVER])),
    file('hangs', tinyKernel(FOR_EVER)),
    file('none', 'no kernel'),
  ];
  const options = ['-H', 'bare,kvm,vmware', '-m', '16M', '--initrd', file('initrd', 'x'), '--until', 'alive'];
  const words = ['matrix', ...kernels, ...options, '--limit', '50M'];
  const shards = [1, 2, 3, 4].map(index => path(`${index}.json`));

  before(async () => {
    await polyvisor([...words, '--json', path('whole.json'), '--history', path('history.jsonl')]);
    for (const [index, json] of shards.entries())
      await polyvisor([...words, '--shard', `${index + 1}/4`, '--json', json]);
  });

  test('are merged to the report of one run', async () => {
    const { status, stdout, stderr } = await polyvisor([
      'matrix',
      'merge',
      ...shards.toReversed(),
      '--json',
      path('merged.json'),
      '--junit',
      path('merged.xml'),
      '--html',
      path('merged.html'),
      '--history',
      path('history.jsonl'),
    ]);
    assert.equal(status, 1, stderr);
    assert.match(stdout, /^3 of 9 cells passed$/m);
    const [whole, merged] = [read('whole.json'), read('merged.json')];
    assert.equal(whole.cells.length, 9);
    assert.deepEqual(merged.cells.map(repeatable), whole.cells.map(repeatable));
    assert.deepEqual(merged.kernels, whole.kernels);
    assert.deepEqual(merged.hypervisors, whole.hypervisors);
    assert.ok(
      [1, 2, 3, 4].every(index => merged.cells.some(({ shard }) => shard === index)),
      'each had something to do',
    );
    assert.match(readFileSync(path('merged.html'), 'utf8'), /in 4 shards/);
    const runs = parseHistory(readFileSync(path('history.jsonl'), 'utf8'));
    assert.deepEqual(
      runs.map(({ date, cells }) => [date, cells.length]),
      [whole, merged].map(({ date }) => [date, 9]),
    );
    assert.equal(runs[0]!.settings, runs[1]!.settings);
    assert.match(readFileSync(path('merged.html'), 'utf8'), /<h2>History<\/h2>\n<p class="faint">2 runs/);
    assert.equal(readFileSync(path('merged.xml'), 'utf8').match(/<testcase/g)?.length, 9);
  });

  test('with one of another run, a damaged one, or none: refused, with which', async () => {
    const other = path('other.json');
    // The kernel has the same name and the same size.
    file('hangs', tinyKernel([0xfa, 0xf4]));
    await polyvisor([...words, '--shard', '4/4', '--json', other]);
    const cases: [files: string[], status: number, says: RegExp][] = [
      [[...shards.slice(0, 3), other], 65, /other\.json: of another run than .*1\.json: the bytes of a kernel/],
      [shards.slice(1), 65, /1 shard of 4 missing: 1\/4; run/],
      [[file('cut.json', readFileSync(shards[0]!, 'utf8').slice(0, 900))], 65, /cut\.json: not JSON/],
      [['/nonexistent'], 66, /nonexistent: no such file/],
      [['--history', file('bad.jsonl', '\n{'), ...shards], 65, /--history .*bad\.jsonl: line 2 is not JSON/],
      [['--history', '/nonexistent/h', ...shards], 74, /nonexistent\/h: the folder for it does not exist/],
    ];
    for (const [files, status, says] of cases) {
      const result = await polyvisor(['matrix', 'merge', ...files]);
      assert.match(result.stderr, says);
      assert.equal(result.status, status, result.stderr);
    }
  });
});
