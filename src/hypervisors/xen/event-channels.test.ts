import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EEXIST, EINVAL, ENOENT, ENOSPC, VIRQ_DEBUG, VIRQ_TIMER } from './constants.ts';
import { fakeDomain } from './fake-domain.ts';

function setUp() {
  const upcalls: number[] = [];
  const { domain, cpu } = fakeDomain({ upcall: vcpu => upcalls.push(vcpu.id) });
  const { events, memory } = domain;
  const shared = domain.sharedInfo.address;
  const bit = (base: number, port: number) => (memory.read8(shared + base + (port >> 3)) >> (port & 7)) & 1;
  return {
    cpu,
    domain,
    events,
    memory,
    upcalls,
    pending: (port: number) => bit(0x800, port),
    selector: () => memory.read64(shared + 8),
    mask: (port: number) => {
      const byte = shared + 0xa00 + (port >> 3);
      memory.write8(byte, memory.read8(byte) | (1 << (port & 7)));
    },
    /** What a guest does first in its upcall. */
    acknowledge: () => {
      memory.write8(shared, 0);
      memory.write64(shared + 8, 0n);
    },
  };
}

test('a raised port sets its bit, its selector and the upcall, once', () => {
  const { events, upcalls, pending, selector, memory, domain } = setUp();
  const port = events.bindIpi(0);
  assert.equal(port, 1);
  assert.equal(events.send(port), 0);
  assert.equal(pending(port), 1);
  assert.equal(selector(), 1n);
  assert.equal(memory.read8(domain.sharedInfo.address), 1);
  assert.deepEqual(upcalls, [0]);
  events.send(port);
  assert.deepEqual(upcalls, [0], 'it is pending already');
});

test('a masked port becomes pending and no more, until it is unmasked', () => {
  const { events, upcalls, pending, selector, mask } = setUp();
  const port = events.bindIpi(0);
  mask(port);
  events.send(port);
  assert.equal(pending(port), 1);
  assert.equal(selector(), 0n);
  assert.deepEqual(upcalls, []);
  assert.equal(events.unmask(port), 0);
  assert.equal(selector(), 1n);
  assert.deepEqual(upcalls, [0]);
});

test('ports of a higher word have a selector bit of their own', () => {
  const { events, selector, acknowledge } = setUp();
  let last = 0;
  while (last < 130) last = events.allocateUnbound(0);
  events.bindHost(130, 'back end');
  events.notify(130, 'back end');
  assert.equal(selector(), 1n << 2n);
  acknowledge();
});

test('a back end and the guest reach each other, until one closes', () => {
  const { events, pending, acknowledge } = setUp();
  let received = 0;
  const port = events.allocateUnbound(0);
  assert.equal(events.send(port), 0, 'nobody there yet: dropped');
  events.register('back end', () => received++);
  assert.equal(events.bindHost(port, 'back end'), true);
  assert.equal(events.bindHost(port, 'another'), false, 'taken');
  events.send(port);
  assert.equal(received, 1);
  events.notify(port, 'another');
  assert.equal(pending(port), 0, 'it is not bound to that one');
  events.notify(port, 'back end');
  assert.equal(pending(port), 1);
  acknowledge();
  assert.equal(events.close(port), 0);
  assert.equal(pending(port), 0);
  assert.equal(events.close(port), -EINVAL);
  assert.equal(events.send(port), -EINVAL);
  // The number goes to somebody else: the old end must not reach it.
  assert.equal(events.allocateUnbound(5), port);
  events.notify(port, 'back end');
  events.unbindHost(port, 'back end');
  assert.equal(pending(port), 0);
  assert.equal(events.get(port)?.state, 'unbound');
  assert.equal(events.bindHost(port, 'back end'), false, 'it is for domain 5');
});

test('both ends in one domain', () => {
  const { events, domain, pending } = setUp();
  const far = events.allocateUnbound(domain.id);
  const near = events.bindInterdomain(domain.id, far);
  assert.equal(pending(near), 1, 'raised once when bound');
  events.send(near);
  assert.equal(pending(far), 1);
  events.close(near);
  assert.equal(events.get(far)?.state, 'unbound');
  assert.equal(events.bindInterdomain(0, far), -EINVAL);
  assert.equal(events.bindInterdomain(domain.id, 999), -EINVAL);
});

test('virtual interrupts: one port each, the right processor, the right errors', () => {
  const { events, pending } = setUp();
  const port = events.bindVirq(VIRQ_TIMER, 0);
  assert.equal(events.bindVirq(VIRQ_TIMER, 0), -EEXIST);
  assert.equal(events.bindVirq(VIRQ_TIMER, 1), -ENOENT);
  assert.equal(events.bindVirq(VIRQ_DEBUG, 0), port + 1);
  assert.equal(events.bindVirq(24, 0), -EINVAL);
  assert.equal(events.bindVirq(3, 1), -EINVAL, 'a global one is processor 0’s');
  assert.equal(events.bindIpi(7), -ENOENT);
  events.raiseVirq(VIRQ_TIMER, 0);
  assert.equal(pending(port), 1);
  assert.equal(events.bindVcpu(port, 0), -EINVAL, 'a per-processor one stays');
  assert.equal(events.bindVcpu(port, 3), -ENOENT);
  assert.equal(events.bindVcpu(events.allocateUnbound(0), 0), 0);
  assert.equal(events.send(port), -EINVAL);
});

test('ports come to an end, and the lowest free one is next', () => {
  const { events } = setUp();
  for (let port = 1; port < 4096; port++) assert.equal(events.allocateUnbound(0), port);
  assert.equal(events.allocateUnbound(0), -ENOSPC);
  events.close(77);
  assert.equal(events.bindIpi(0), 77);
  events.reset();
  assert.equal(events.bindIpi(0), 1);
});

test('the 32-bit layout of shared_info', () => {
  const { events, domain, memory } = setUp();
  domain.state.width = 32;
  let last = 0;
  while (last < 40) last = events.allocateUnbound(0);
  const shared = domain.sharedInfo.address;
  memory.write8(shared + 0x880 + 4, 2); // mask port 33
  for (const port of [33, 40]) {
    events.bindHost(port, 'back end');
    events.notify(port, 'back end');
  }
  assert.equal(memory.read32(shared + 0x804), (1 << 1) | (1 << 8));
  assert.equal(memory.read32(shared + 4), 1 << 1);
});
