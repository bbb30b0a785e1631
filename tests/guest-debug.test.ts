/** Debug exceptions, single steps, breakpoints and shadows, in 32-bit and 64-bit mode and in both tiers (guests/debug). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { createMachine, type Exit } from '../src/index.ts';
import { assembled } from './assembled.ts';

const EXIT_PORT = 0x501;

async function endOf(code: Uint8Array, engine: 'interpreter' | 'both', instructions: number): Promise<Exit> {
  const machine = await createMachine({
    kernel: tinyKernel([...code]),
    memory: 16 << 20,
    engine,
    devices: slot => {
      slot.ports('exit port', EXIT_PORT, 1, {
        read: () => 0,
        write: (_offset, _width, value) => slot.request('power-off', value),
      });
      return [];
    },
  });
  return machine.run({ instructions });
}

for (const engine of ['interpreter', 'both'] as const)
  test(`debug exceptions come when the manuals say (${engine}); the status is the number of the check that failed`, async () => {
    assert.deepEqual(await endOf(assembled('debug'), engine, 10_000_000), { kind: 'power-off', status: 0 });
  });

test('a breakpoint on the first instruction of its own handler ends with the budget, or when its time is over', async () => {
  const code = assembled('debug-loop');
  for (const engine of ['interpreter', 'both'] as const)
    assert.deepEqual(await endOf(code, engine, 100_000), { kind: 'stopped' }, engine);
  const machine = await createMachine({ kernel: tinyKernel([...code]), memory: 16 << 20 });
  assert.deepEqual(await machine.run({ timeout: 0.2 }), { kind: 'timeout' });
  assert.ok(machine.instructions > 100, `${machine.instructions} instructions`);
});
