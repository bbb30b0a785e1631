/** A region that cannot be entered, because a trap is due, has to leave RIP where it is (guests/refused-region). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { createMachine } from '../src/index.ts';
import { assembled } from './assembled.ts';

const EXIT_PORT = 0x501;

test('a translated function that must raise #NM raises it', async () => {
  const machine = await createMachine({
    kernel: tinyKernel([...assembled('refused-region')]),
    memory: 16 << 20,
    engine: 'jit',
    devices: slot => {
      slot.ports('exit port', EXIT_PORT, 1, {
        read: () => 0,
        write: (_offset, _width, value) => slot.request('power-off', value),
      });
      return [];
    },
  });
  const exit = await machine.run({ instructions: 100_000_000 });
  const { regions = 0 } = machine.statistics.translation ?? {};
  assert.ok(regions > 0, 'nothing became hot: the test shows nothing');
  assert.deepEqual(exit, { kind: 'power-off', status: 0 });
});
