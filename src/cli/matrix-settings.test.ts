import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMatrixSettings } from './matrix-settings.ts';

const options = {
  memory: '16M',
  cpus: '1',
  schedule: 'fair',
  clock: 'virtual',
  timeout: '1',
  tolerance: '2%',
  priority: '100',
};

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

test('several schedules', () => {
  const parse = (more: object) => parseMatrixSettings({ ...options, cpus: '2', ...more });
  assert.deepEqual(parse({ schedules: '20' }).seeds, { first: 1, last: 20 });
  assert.deepEqual(parse({ schedules: '7-9' }).seeds, { first: 7, last: 9 });
  assert.equal(parse({}).seeds, undefined);
  for (const text of ['', '0', '-1', '1-', '9-7', '1.5', '10001', '1-99999999', '4294967296-4294967297'])
    assert.throws(
      () => parse({ schedules: text }),
      /--schedules .*: how many, from 1 to 10000, or the first seed/,
      text,
    );
  assert.throws(() => parse({ schedules: '5', schedule: '3' }), /--schedules 5: and --schedule 3/);
  assert.throws(() => parse({ schedules: '5', clock: 'host' }), /--schedules 5: with the host's clock/);
  assert.throws(() => parse({ schedules: '5', cpus: '1' }), /--schedules 5: .*add --cpus/);
  assert.throws(() => parse({ schedules: '5', trace: 'folder' }), /--schedules 5: --trace is for one boot/);
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

test('a root, with what runs in it', () => {
  const parse = (more: object) => parseMatrixSettings({ ...options, ...more });
  assert.equal(parse({ test: 'file' }).rooted, undefined);
  const { rooted } = parse({ root: 'host', test: 'file', cwd: '/srv', env: ['A=b'], user: 'me' });
  assert.deepEqual(rooted, {
    ...{ root: { kind: 'host' }, init: false, cwd: '/srv', user: 'me', environment: new Map([['A', 'b']]) },
  });
  const debian = parse({ root: 'debian:python3,gcc', init: true, until: 'login:' }).rooted;
  assert.deepEqual([debian?.root, debian?.init], [{ kind: 'debian', packages: ['python3', 'gcc'] }, true]);
  for (const wrong of [{}, { init: true }, { until: 'login:' }, { init: true, test: 'file' }])
    assert.throws(() => parse({ root: 'host', ...wrong }), /--root: --test FILE is what runs in it/);
  assert.throws(() => parse({ root: 'debian:a/b', test: 'file' }), /"a\/b" is no name of a Debian package/);
  assert.throws(() => parse({ root: 'host', test: 'file', recordFailures: 'x' }), /leave out --root/);
  assert.throws(() => parse({ test: 'file', cwd: '/' }), /--cwd: is for a root of its own/);
  assert.throws(() => parse({ root: 'host', test: 'file', initrd: 'file' }), /give no --initrd/);
});
