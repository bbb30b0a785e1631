/** The loop, with machines of a few instructions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import type { Timer } from '../host/clock.ts';
import { createMachine } from './machine.ts';

/** STI, then HLT for ever; the same with a jump to itself instead. */
const SLEEPS = tinyKernel([0xfb, 0xf4, 0xeb, 0xfd]);
const TURNS = tinyKernel([0xeb, 0xfe]);

for (const [what, kernel] of Object.entries({ halted: SLEEPS, busy: TURNS }))
  test(`a timer that is always due does not hold the loop of a ${what} guest up for ever`, async () => {
    const machine = await createMachine({
      kernel,
      engine: 'interpreter',
      devices: ({ clock }) => {
        const timer: Timer = clock.timer('planted', () => timer.at(clock.now()));
        timer.at(5000);
        return [{ name: 'planted', reset() {} }];
      },
    });
    await assert.rejects(
      machine.run({ timeout: 60 }),
      /^TimerError: timer planted: is always due, and time stands still at/,
    );
    assert.ok(machine.statistics.hostTime > 0, 'the time until then counts');
  });

test('host time is counted while the machine runs', async () => {
  const machine = await createMachine({ kernel: TURNS, engine: 'interpreter' });
  const ended = machine.run({ instructions: 20_000_000 });
  const seen: number[] = [];
  let running = true;
  void ended.finally(() => (running = false));
  while (running) {
    seen.push(machine.statistics.hostTime);
    await new Promise(resolve => setImmediate(resolve));
  }
  await ended;
  assert.ok(seen.at(-1)! > 0, 'before its end');
  const { hostTime } = machine.statistics;
  assert.ok(hostTime >= seen.at(-1)!);
  assert.equal(machine.statistics.hostTime, hostTime, 'it stands still afterwards');
});
