/** The two tiers side by side on a real kernel: registers at every slice, all RAM now and then (compare-tiers.ts). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { libraryName } from '../src/engine/jit/library.ts';
import { ensureGuest } from '../src/host/node/index.ts';
import { type ArtifactCache, createMachine, type MachineOptions, RegionLibrary } from '../src/index.ts';

const INSTRUCTIONS = 150_000_000;

// Debian's kernel for i386 has PAE tables unless it is of the flavour 686, whose tables have two levels.
for (const [hypervisor, architecture, flavour] of [
  ['bare', 'amd64'],
  ['xen-pv', 'amd64'],
  ['bare', 'i386'],
  ['kvm', 'i386'],
  ['bare', 'i386', '686'],
] as const)
  test(`${hypervisor}, ${flavour ?? architecture}: interpreter and JIT agree for ${INSTRUCTIONS / 1e6} million instructions of Debian's boot`, async () => {
    const guest = await ensureGuest({ architecture, ...(flavour ? { flavour } : {}) });
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

describe('what one machine has translated', () => {
  const library = new RegionLibrary();
  let options: MachineOptions;
  before(async () => {
    const guest = await ensureGuest({ architecture: 'amd64' });
    options = { kernel: readFileSync(guest.kernel), initrd: readFileSync(guest.initrd) };
    const first = await createMachine({ ...options, library, hypervisor: 'kvm' });
    await first.run({ instructions: INSTRUCTIONS });
  });
  const agrees = async (more: Partial<MachineOptions>) => {
    const second = await createMachine({ ...options, ...more, engine: 'both' });
    assert.deepEqual(await second.run({ instructions: INSTRUCTIONS }), { kind: 'stopped' });
    const { regions = 0, recalled = 0 } = second.statistics.translation!;
    assert.ok(recalled > 0.8 * regions, `${recalled} of ${regions} regions came from the library`);
  };

  test('does the same in another one, under another hypervisor', () => agrees({ library, hypervisor: 'hyperv' }));
  test('does the same in a later process', () => {
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    const cache: ArtifactCache = {
      load: name => files.get(name),
      save: (name, data) => void files.set(name, data.slice()),
    };
    library.save(cache, libraryName(options.kernel!, 256 << 20));
    return agrees({ cache, hypervisor: 'kvm' });
  });
});
