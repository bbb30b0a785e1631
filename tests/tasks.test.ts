/** Task switches through TSSs, in both tiers (guests/tasks). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { createMachine } from '../src/index.ts';
import { assembled } from './assembled.ts';

const EXIT_PORT = 0x501;

for (const engine of ['interpreter', 'jit', 'both'] as const)
  test(`tasks are switched as the manual says (${engine}); the status is the number of the check that failed`, async () => {
    let upper = 0;
    const machine = await createMachine({
      kernel: tinyKernel([...assembled('tasks')]),
      memory: 16 << 20,
      engine,
      devices: slot => {
        slot.ports('exit port', EXIT_PORT, 2, {
          read: () => 0,
          write: (offset, _width, value) => {
            if (offset === 1) upper = value << 8;
            else slot.request('power-off', upper | value);
          },
        });
        return [];
      },
    });
    assert.deepEqual(await machine.run({ instructions: 50_000_000 }), { kind: 'power-off', status: 0 });
    const { regions = 0 } = machine.statistics.translation ?? {};
    if (engine === 'jit') assert.ok(regions > 0, 'nothing became hot: the test shows nothing');
  });
