import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseKernel } from '../boot/image.ts';
import { createSymbols } from '../boot/symbols.ts';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { bareTable } from '../hypervisors/bare/index.ts';
import { derive } from '../paravirt/derive.ts';
import type { HypervisorModule } from '../paravirt/operations.ts';
import { factsOf, type ImageFacts, notBuiltFor } from './applicability.ts';

const title = 'a hypervisor of this test';
const needy: HypervisorModule = {
  name: 'needy',
  title,
  guestHalf: { option: 'CONFIG_NEEDY', symbols: ['needy_init', 'needy_setup'] },
  make: () => bareTable,
};

describe('whether a kernel was built for a hypervisor', () => {
  const facts = async (more: Partial<ImageFacts>): Promise<ImageFacts> => ({
    ...(await factsOf(await parseKernel(tinyKernel([0xf4])))),
    ...more,
  });
  const symbols = (...names: string[]) => createSymbols(names.map((name, index) => ({ name, address: BigInt(index) })));

  test('a kernel that tells nothing is booted', async () =>
    assert.equal(notBuiltFor(needy, await facts({})), undefined));

  test('the configuration decides, where there is one', async () => {
    const without = await facts({
      config: new Map([['CONFIG_OTHER', 'y']]),
      symbols: symbols('start_kernel', 'needy_init'),
    });
    assert.match(notBuiltFor(needy, without)!, /no CONFIG_NEEDY/);
    assert.equal(notBuiltFor(needy, await facts({ config: new Map([['CONFIG_NEEDY', 'y']]) })), undefined);
  });

  test('else the symbols do, if they are whole', async () => {
    assert.equal(notBuiltFor(needy, await facts({ symbols: symbols('start_kernel', 'needy_setup') })), undefined);
    assert.equal(notBuiltFor(needy, await facts({ symbols: symbols('something') })), undefined);
    assert.match(notBuiltFor(needy, await facts({ symbols: symbols('start_kernel') }))!, /built without CONFIG_NEEDY/);
  });

  test('what a hypervisor refuses comes first', async () => {
    const boot = { refuses: () => 'it is too small' };
    const picky: HypervisorModule = {
      name: 'picky',
      title,
      make: () => derive(bareTable, { name: 'picky', title, boot }),
    };
    assert.equal(notBuiltFor(picky, await facts({})), 'it is too small');
    assert.equal(notBuiltFor({ ...picky, make: () => bareTable }, await facts({})), undefined);
  });
});
