/**
 * A hostile PV guest of our own (guests/xen-pv-fuzz) on a whole machine: attacks on page types and descriptor tables with their
 * expected answers, 100,000 random hypercalls, and what ends a guest. `npm run fuzz -- xen-pv` runs more of them.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { xenPv } from '../src/hypervisors/xen-pv/index.ts';
import type { HypervisorModule } from '../src/paravirt/operations.ts';
import { buildGuest, judgeRun, missingCompiler, ROUNDS, runGuest } from './fuzz/xen-pv.ts';

describe('a hostile PV guest', { skip: missingCompiler() ?? false }, () => {
  let kernel: Uint8Array;
  before(() => void (kernel = buildGuest()));
  const run = (append: string) => runGuest(kernel, append);

  test('gets away with nothing', async () => {
    const { exit, text } = await run('attacks');
    assert.deepEqual(exit, { kind: 'power-off' }, text);
    assert.match(text, /attacks: pointers\nattacks failed: 0\ndone\n$/);
  });

  test(`${ROUNDS} random hypercalls`, async () => {
    const result = await run(`rounds=${ROUNDS} seed=1`);
    assert.equal(judgeRun(result, ROUNDS), undefined, result.text);
  });

  test('the same with and without fast paths, to the instruction', async () => {
    const without: HypervisorModule = {
      ...xenPv,
      make: (...told) => ({ ...xenPv.make(...told), fastPaths: undefined }),
    };
    for (const append of ['attacks', 'rounds=20000 seed=3'])
      assert.deepEqual(await runGuest(kernel, append), await runGuest(kernel, append, without), append);
  });

  const lethal: [what: string, reason: RegExp][] = [
    ['iret to user mode without page tables', /iret to user mode without page tables/],
    ['iret from a stack that is not there', /iret: its frame/],
    ['an exception without a stack', /exception 6: the guest's kernel stack/],
    ['an exception without a handler', /exception 6 at rip 0x[0-9a-f]+ in kernel mode.*no handler/],
    ['page tables that map nothing', /exception 14 .*stack/],
  ];
  for (const [index, [what, reason]] of lethal.entries()) {
    test(`${what} ends it`, async () => {
      const { exit, text } = await run(`lethal=${index}`);
      assert.equal(exit.kind, 'killed', text);
      assert.match((exit as { reason: string }).reason, reason);
      assert.doesNotMatch(text, /survived/);
    });
  }
});
