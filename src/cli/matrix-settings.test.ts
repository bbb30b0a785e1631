import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMatrixSettings } from './matrix-settings.ts';

const options = { memory: '16M', cpus: '1', schedule: 'fair', clock: 'virtual', timeout: '1', tolerance: '2%' };

test('a history is of whole runs', () => {
  assert.equal(parseMatrixSettings({ ...options, history: 'h' }).history, 'h');
  assert.throws(() => parseMatrixSettings({ ...options, history: 'h', shard: '1/2' }), /--history: .*matrix merge/);
});

test('a share of the cells', () => {
  const parse = (shard: string) => parseMatrixSettings({ ...options, shard }).shard;
  assert.deepEqual(parse('2/4'), { index: 2, count: 4 });
  assert.deepEqual(parse(' 1/1 '), { index: 1, count: 1 });
  assert.equal(parseMatrixSettings(options).shard, undefined);
  for (const text of ['', '0/4', '5/4', '1', '1/2/3', '-1/4', '1/9999', '1.5/4', 'a/b', '1/'])
    assert.throws(() => parse(text), /^Failure: --shard .*: which share of how many, such as 1\/4/);
});

test('a control, beside what is tested', () => {
  const parse = (more: object) => parseMatrixSettings({ ...options, ...more });
  const names = (more: object) => parse(more).hypervisors.map(({ name }) => name);
  assert.deepEqual(names({ hypervisor: 'kvm,xen-pv', bisect: 'bare' }), ['kvm', 'xen-pv', 'bare']);
  assert.deepEqual(names({ hypervisor: 'bare,kvm', bisect: 'bare' }), ['kvm', 'bare']);
  assert.equal(parse({ bisect: 'bare' }).bisect, 'bare');
  assert.throws(() => parse({ hypervisor: 'kvm', bisect: 'brae' }), /did you mean bare/);
  assert.throws(() => parse({ hypervisor: 'bare', bisect: 'bare' }), /--bisect bare: is the control/);
  assert.throws(() => parse({ bisect: 'bare', shard: '1/2' }), /--bisect: a shard/);
});
