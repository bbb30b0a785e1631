import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  E2BIG,
  EACCES,
  EBUSY,
  EFAULT,
  EINVAL,
  ENODATA,
  ENODEV,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
} from '../xen/constants.ts';
import { createFakeGuest } from '../xen-pv/fake-guest.ts';
import { boot, DATA, MEMORY } from './fake-guest.ts';

const [platform_op, sysctl, domctl, kexec, xenpmu, dm_op, hypfs, mca, paging_domctl] = [
  7, 35, 36, 37, 40, 41, 42, 48, 49,
];
const DOMCTL_VERSION = 0x15;
const [createdomain, getdomaininfo, max_mem, shadow_op, assign_device, test_assign_device] = [1, 5, 11, 10, 37, 45];
const NOBODY = 5;

/** A guest of each kind: its hypercalls, with a structure of 64-bit words at the pointer. */
const guests = {
  async PVH() {
    const { call, memory } = await boot();
    const words = (...values: (number | bigint)[]) => {
      memory.fill(DATA, 256);
      for (const [index, value] of values.entries()) memory.write64(DATA + 8 * index, BigInt(value));
      return DATA;
    };
    return { call, words, nowhere: MEMORY - 64 };
  },
  async PV() {
    const { call, words } = await createFakeGuest();
    return {
      call,
      words: (...values: (number | bigint)[]) => words(...values, ...new Array(32 - values.length).fill(0)),
      nowhere: 0,
    };
  },
};

for (const [kind, create] of Object.entries(guests)) {
  test(`${kind}: sysctl, platform_op and domctl: the structure, its version, the domain, and then who asks`, async () => {
    const { call, words, nowhere } = await create();
    for (const number of [sysctl, platform_op, domctl, paging_domctl]) assert.equal(call(number, nowhere), -EFAULT);
    assert.equal(call(sysctl, words(1)), -EACCES);
    assert.equal(call(sysctl, words(1 + DOMCTL_VERSION * 2 ** 32)), -EPERM);
    assert.equal(call(platform_op, words(1 + DOMCTL_VERSION * 2 ** 32)), -EACCES);
    assert.equal(call(platform_op, words(99 + 0x03000001 * 2 ** 32)), -EPERM);
    const control = (command: number, domid: number, version = DOMCTL_VERSION) =>
      call(domctl, words(command + version * 2 ** 32, domid));
    assert.equal(control(max_mem, NOBODY, 0x14), -EACCES);
    for (const domid of [0, 1]) assert.equal(control(max_mem, domid), -EPERM);
    for (const domid of [NOBODY, 0x7ff0, 0x7ff1, 0x7ff4])
      assert.equal(control(max_mem, domid), -ESRCH, `domain ${domid}`);
    assert.equal(control(createdomain, NOBODY), -EPERM, 'it is not there yet');
    assert.deepEqual(
      [0, 1, NOBODY, 0x7ff0].map(domid => control(getdomaininfo, domid)),
      [-EPERM, -EPERM, -ESRCH, -EINVAL],
    );
    assert.deepEqual(
      [0x7ff1, 0x7ff4, 1].map(domid => control(assign_device, domid)),
      [-EPERM, -ESRCH, -EPERM],
    );
    assert.deepEqual(
      [0x7ff1, 0x7ff4, 1].map(domid => control(test_assign_device, domid)),
      [-ESRCH, -EPERM, -EPERM],
    );
    assert.equal(call(paging_domctl, words(max_mem + DOMCTL_VERSION * 2 ** 32, 1)), -EOPNOTSUPP);
    assert.equal(call(paging_domctl, words(shadow_op + DOMCTL_VERSION * 2 ** 32, NOBODY)), -ESRCH);
    assert.equal(call(paging_domctl, words(shadow_op + DOMCTL_VERSION * 2 ** 32, 1)), -EPERM);
  });

  test(`${kind}: dm_op, hypfs_op and xenpmu_op`, async () => {
    const { call, words, nowhere } = await create();
    assert.equal(call(dm_op, NOBODY, 0, nowhere), -ENODATA);
    assert.equal(call(dm_op, NOBODY, 3, nowhere), -E2BIG);
    if (kind === 'PVH') assert.equal(call(dm_op, NOBODY, 1, MEMORY - 8), -EFAULT);
    assert.deepEqual(
      [0, 1, NOBODY, 0x7ff0].map(domid => call(dm_op, domid, 1, words(0))),
      [-EINVAL, -EPERM, -ESRCH, -ESRCH],
    );
    assert.equal(call(hypfs, 0, nowhere), -EPERM);
    assert.equal(call(xenpmu, 0, nowhere), -EOPNOTSUPP);
  });
}

test('what only PV guests may ask', async () => {
  const pv = await guests.PV();
  for (const number of [kexec, mca]) assert.equal(pv.call(number, 0, pv.nowhere), -EPERM);
  const pvh = await guests.PVH();
  for (const number of [kexec, mca, 6, 16, 19, 33]) assert.equal(pvh.call(number, 0, 0), -ENOSYS);
});

test('what is for guests of the other kind', async () => {
  const pv = await guests.PV();
  const parameter = (index: number, domid: number) => pv.call(34, 1, pv.words(domid + index * 2 ** 32));
  assert.equal(pv.call(34, 1, pv.nowhere), -EFAULT);
  for (const domid of [0x7ff0, 1, 0]) assert.equal(parameter(1, domid), -EINVAL);
  assert.deepEqual([parameter(1, NOBODY), parameter(39, NOBODY)], [-ESRCH, -EINVAL]);
  for (const command of [5, 23]) assert.equal(pv.call(34, command, pv.words(0)), -EINVAL);
  assert.equal(pv.call(34, 10, pv.words(0)), 0);
  const pvh = await guests.PVH();
  const owners = [0x7ff0, 0, 0x7ff1, 1, NOBODY].map(owner => pvh.call(26, 0, 0, 0, owner));
  assert.deepEqual(owners, [-EINVAL, -EPERM, -EPERM, -ESRCH, -ESRCH]);
});

test('physdev_op of a PV guest: structure, values, and who asks', async () => {
  const { call, words } = await guests.PV();
  const op = (command: number, ...values: (number | bigint)[]) => call(33, command, words(...values));
  for (const command of [5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 19, 20, 21, 25, 26, 27, 28, 30, 31])
    assert.equal(call(33, command, 0), -EFAULT, `operation ${command}`);
  for (const command of [24, 29])
    assert.equal(call(33, command, 0), -EPERM, `operation ${command}: who asks comes first`);
  for (const command of [8, 9, 10, 15, 16, 20, 21, 25, 26, 30, 31])
    assert.equal(op(command), -EPERM, `operation ${command}`);
  for (const command of [13, 14])
    assert.deepEqual(
      [0x7ff0, 0, NOBODY].map(domid => op(command, domid)),
      [-EPERM, -EPERM, -ESRCH],
    );
  for (const command of [19, 27]) assert.equal(op(command), -ENODEV);
  for (const command of [0, 3, 11, 22, 32]) assert.equal(op(command), -ENOSYS, `operation ${command}`);
  assert.deepEqual([op(4), op(5, 3), op(5, 56), op(12, 3)], [0, 0, -EINVAL, -EINVAL]);
  assert.deepEqual([op(6, 3), op(6, 4), op(21, 24), op(20, 2n << 32n)], [0, -EINVAL, -EINVAL, -EINVAL]);
  assert.equal(op(28, 1n << 40n), -EINVAL);
  assert.equal(op(28, 0x500), 0);
  assert.equal(op(17, 0x501), -EBUSY);
});

test('the hypercalls of 2005', async () => {
  const { call, words } = await guests.PV();
  assert.equal(call(6, 0, 0), 0);
  assert.equal(call(6, 3, 0), -ENOSYS);
  assert.equal(call(16, 0), -EFAULT);
  // The command, then struct evtchn_bind_ipi {vcpu, port}.
  assert.equal(call(16, words(7, 0)), 0);
  assert.equal(call(16, words(7 + 9 * 2 ** 32, 0)), -2, 'ENOENT: no such processor');
  assert.equal(call(16, words(10)), -ENOSYS, 'reset came later');
  assert.equal(call(19, words(6, 1)), 0, 'PHYSDEVOP_SET_IOPL');
  assert.equal(call(19, words(6, 4)), -EINVAL);
  assert.equal(call(19, words(12, 4)), -ENOSYS);
});
