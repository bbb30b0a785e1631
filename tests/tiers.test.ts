/** The two tiers side by side on a real kernel: registers at every slice, all RAM now and then (compare-tiers.ts). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ensureGuest } from '../src/host/node/index.ts';
import { createMachine } from '../src/index.ts';

const INSTRUCTIONS = 150_000_000;

for (const [hypervisor, architecture] of [
  ['bare', 'amd64'],
  ['xen-pv', 'amd64'],
  ['bare', 'i386'],
] as const)
  test(`${hypervisor}, ${architecture}: interpreter and JIT agree for ${INSTRUCTIONS / 1e6} million instructions of Debian's boot`, async () => {
    const guest = await ensureGuest({ architecture });
    const machine = await createMachine({
      kernel: readFileSync(guest.kernel),
      initrd: readFileSync(guest.initrd),
      hypervisor,
      engine: 'both',
    });
    const exit = await machine.run({ instructions: INSTRUCTIONS });
    assert.deepEqual(exit, { kind: 'stopped' });
    assert.equal(machine.statistics.instructions, INSTRUCTIONS);
    const { modules = 0 } = machine.statistics.translation ?? {};
    assert.ok(modules > 0, 'nothing was translated: there was nothing to compare');
  });
