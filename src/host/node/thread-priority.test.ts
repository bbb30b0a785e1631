import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { test } from 'node:test';

/** In a process of its own, since it changes that for good. Prints the niceness of its thread and of all others. */
const program = `
  const { readdirSync, readlinkSync } = await import('node:fs');
  const { getPriority } = await import('node:os');
  const { preferThisThread } = await import(process.argv[1]);
  const threads = readdirSync('/proc/self/task').map(Number);
  const before = getPriority(process.pid);
  preferThisThread();
  preferThisThread();
  const others = threads.filter(thread => thread !== process.pid).map(getPriority);
  console.log(JSON.stringify({ before, own: getPriority(process.pid), others }));
`;

test('the other threads of the process are nicer, by as much however often it is asked for', {
  skip: process.platform !== 'linux' && 'only Linux has a priority for each thread',
}, () => {
  const module = new URL('./thread-priority.js', import.meta.url).href;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program, module], {
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  const { before, own, others } = JSON.parse(stdout) as { before: number; own: number; others: number[] };
  assert.equal(own, before);
  assert.ok(others.length > 0);
  for (const other of others) assert.equal(other, Math.min(before + 5, 19));
});
