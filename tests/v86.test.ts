/** Virtual-8086 mode and virtual interrupts (guests/v86). 16-bit code is the interpreter's in all tiers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { createMachine } from '../src/index.ts';
import { assembled } from './assembled.ts';

const EXIT_PORT = 0x501;

for (const engine of ['interpreter', 'both'] as const)
  test(`virtual-8086 mode, VME and PVI (${engine}); the status is the number of the check that failed`, async () => {
    const machine = await createMachine({
      kernel: tinyKernel([...assembled('v86')]),
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
    assert.deepEqual(await machine.run({ instructions: 10_000_000 }), { kind: 'power-off', status: 0 });
  });
