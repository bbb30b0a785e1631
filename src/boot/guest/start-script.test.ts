import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { readCpio } from '../cpio.ts';
import { quoted, type RootRun, startArchive } from './start-script.ts';

const RUN: RootRun = {
  isDisk: false,
  readOnly: false,
  run: { kind: 'shell', command: "echo 'it is'" },
  cwd: "/a 'folder'",
  environment: new Map([['A', "1'2\n3"]]),
  user: 'root',
  isTerminal: false,
};
const text = (data: Uint8Array | string | undefined) =>
  typeof data === 'string' ? data : new TextDecoder().decode(data);
const files = (run: RootRun | undefined) =>
  new Map(
    readCpio(startArchive([{ tag: 't', where: '/mnt/t', isOurs: false, readOnly: true }], run)).map(
      ({ name, data }) => [name, text(data)],
    ),
  );

test('a word is a word for the shell, whatever is in it', () => {
  for (const word of ["it's", '$HOME `x` "y"\\', 'a\nb', "'", ''])
    assert.equal(execFileSync('sh', ['-c', `printf %s ${quoted(word)}`], { encoding: 'utf8' }), word);
});

test('scripts are scripts, and say what is to be mounted', () => {
  assert.deepEqual(
    [...files(undefined)],
    [
      ['polyvisor', ''],
      ['polyvisor/folders', 't /mnt/t cache=mmap,ro\n'],
    ],
  );
  for (const run of [
    RUN,
    { ...RUN, isTerminal: true },
    { ...RUN, isDisk: true, readOnly: true },
    { ...RUN, run: { kind: 'init' } as const },
  ]) {
    const all = files(run);
    for (const name of ['polyvisor/start', 'polyvisor/enter'].filter(name => all.has(name)))
      execFileSync('sh', ['-n'], { input: all.get(name)! });
    assert.equal(all.has('polyvisor/enter'), run.run.kind !== 'init');
    assert.equal(all.get('polyvisor/folders')!.includes('polyvisor /channel cache=none,rw'), run.run.kind !== 'init');
  }
});
