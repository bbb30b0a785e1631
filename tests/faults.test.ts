/** Exceptions to the letter, and code where no RAM is (guests/faults), in both tiers. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { createMachine, type Exit, type Machine } from '../src/index.ts';
import { assembled } from './assembled.ts';

const EXIT_PORT = 0x501;
/** What the guest does, as it reads it from the port. */
const CHECKS = 0;
const DEVICES = 5;
const OUTSIDE = [
  { name: 'code above 4 GiB', what: 1, reason: /execution at 0x100100[0-9a-f]{3} .*where no RAM is/ },
  { name: 'code in the last byte below 4 GiB', what: 2, reason: /execution at 0xffffffff .*where no RAM is/ },
  { name: 'the same without paging', what: 3, reason: /execution at 0xffffffff .*where no RAM is/ },
  { name: 'an instruction that ends above 4 GiB', what: 4, reason: /runs into device memory/ },
] as const;

async function machineFor(what: number, engine: 'interpreter' | 'jit'): Promise<Machine> {
  return createMachine({
    kernel: tinyKernel([...assembled('faults')]),
    memory: 16 << 20,
    engine,
    devices: slot => {
      slot.ports('exit port', EXIT_PORT, 1, {
        read: () => what,
        write: (_offset, _width, value) => slot.request('power-off', value),
      });
      return [];
    },
  });
}

for (const engine of ['interpreter', 'jit'] as const)
  describe(engine, () => {
    test('every instruction raises what the manuals say', async () => {
      const machine = await machineFor(CHECKS, engine);
      assert.deepEqual(await machine.run({ instructions: 200_000_000 }), { kind: 'power-off', status: 0 });
      const { regions = 0 } = machine.statistics.translation ?? {};
      if (engine === 'jit') assert.ok(regions > 0, 'nothing became hot: the test shows nothing');
    });
    test('frames in device memory; x87 errors by IRQ 13', async () => {
      const exit = await (await machineFor(DEVICES, engine)).run({ instructions: 1_000_000 });
      assert.deepEqual(exit, { kind: 'power-off', status: 0 });
    });
    for (const { name, what, reason } of OUTSIDE)
      test(`${name} ends the run`, async () => {
        const exit: Exit = await (await machineFor(what, engine)).run({ instructions: 1_000_000 });
        assert.equal(exit.kind, 'killed');
        assert.match('reason' in exit ? exit.reason : '', reason);
      });
  });
