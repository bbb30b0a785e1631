/** The conformance suite on every hypervisor of the list. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cases, skipReason } from '../src/conformance/cases.ts';
import { bootFixture, createFixture } from '../src/conformance/fixture.ts';
import { hypervisors } from '../src/hypervisors/list.ts';

test('names are unique', () => {
  assert.equal(new Set(hypervisors.map(({ name }) => name)).size, hypervisors.length);
  assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length);
});

for (const module of hypervisors) {
  describe(module.name, () => {
    test('what it skips are cases, with reasons', () => {
      for (const [name, reason] of Object.entries(createFixture(module).table.skip)) {
        assert.ok(
          cases.some(entry => entry.name === name),
          `there is no case "${name}"`,
        );
        assert.ok(reason.length > 10, name);
      }
    });
    for (const entry of cases) {
      const skip = skipReason(entry, createFixture(module, entry.processors));
      test(entry.name, { skip: skip ?? false }, async () => {
        const boot = () => bootFixture(module, entry.processors);
        await entry.run(await boot(), boot);
      });
    }
  });
}
