import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterItsTime, waitedForProcessor } from './patience.ts';

test('a process that waits for a processor has its time afterwards; one that has it is out of time', async () => {
  const started = performance.now();
  const [starving, hanging] = await Promise.all(
    // The first has waited all the time so far, until it gets the processor after a second and a half.
    [() => Math.min(1.5, (performance.now() - started) / 1000), () => 0].map(
      waited =>
        new Promise<number>(resolve => afterItsTime(1, 1, () => resolve((performance.now() - started) / 1000), waited)),
    ),
  );
  assert.ok(hanging! >= 1, `${hanging}`);
  assert.ok(starving! >= 2.4, `${starving}`);
  assert.ok(starving! - hanging! >= 1, `${starving} and ${hanging}`);
});

test('what is called off does not come', async () => {
  let came = false;
  const stop = afterItsTime(undefined, 0.1, () => (came = true));
  stop();
  await sleep(1000);
  assert.equal(came, false);
});

const pinning = process.platform === 'linux' && spawnSync('taskset', ['-V']).status === 0;
test('Linux tells how long a process has waited', { skip: pinning ? false : 'taskset is not here' }, async () => {
  const busy = Array.from({ length: 4 }, () =>
    spawn('taskset', ['-c', '0', process.execPath, '-e', 'for (;;);'], { stdio: 'ignore' }),
  );
  try {
    await sleep(3000);
    // taskset becomes the program that it starts. Each of the four has at most half of one processor.
    const waits = busy.map(({ pid }) => waitedForProcessor(pid!));
    assert.ok(waits.filter(wait => wait > 0.5).length >= 2, waits.join());
  } finally {
    for (const child of busy) child.kill('SIGKILL');
    await Promise.all(busy.map(child => once(child, 'close')));
  }
  assert.equal(waitedForProcessor(busy[0]!.pid!), 0, 'of a process that is gone');
});
