import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EACCES, EINVAL, ENOENT, ENOSPC, ENOSYS, EOPNOTSUPP, VIRQ_TIMER } from './constants.ts';
import { fakeDomain } from './fake-domain.ts';

/** Frames of the guest's: two control blocks, and words of ports. */
const CONTROL = 2;
const SECOND_CONTROL = 3;
const WORDS = 4;
const PENDING = 2 ** 31;
const MASKED = 2 ** 30;
const LINKED = 2 ** 29;
const DEFAULT = 7;

function setUp(options: { processors?: number } = {}) {
  const upcalls: number[] = [];
  const held = new Set<number>();
  const { domain, cpu } = fakeDomain(
    {
      hold(domain, frame) {
        if (frame >= domain.pages) return undefined;
        held.add(frame);
        return frame * 4096;
      },
      release: (_, address) => void held.delete(address / 4096),
      upcall: vcpu => upcalls.push(vcpu.id),
    },
    options.processors,
  );
  const { events, memory } = domain;
  const wordAt = (port: number) => (WORDS + (port >> 10)) * 4096 + 4 * (port & 1023);
  return {
    cpu,
    domain,
    events,
    memory,
    upcalls,
    held,
    word: (port: number) => memory.read32(wordAt(port)),
    setWord: (port: number, value: number) => memory.write32(wordAt(port), value),
    ready: (control = CONTROL) => memory.read32(control * 4096),
    head: (priority: number, control = CONTROL) => memory.read32(control * 4096 + 8 + 4 * priority),
    /** What Linux does in its upcall: takes the queue of a priority, and answers what was on it. */
    take(priority: number, control = CONTROL): number[] {
      const at = control * 4096 + 8 + 4 * priority;
      memory.write32(control * 4096, memory.read32(control * 4096) & ~(1 << priority));
      for (const { info } of domain.vcpus) memory.write8(info, 0);
      const ports: number[] = [];
      for (let port = memory.read32(at); port !== 0; ) {
        const word = memory.read32(wordAt(port));
        memory.write32(wordAt(port), (word & ~(PENDING | LINKED | 0x1ffff)) >>> 0);
        ports.push(port);
        port = word & 0x1ffff;
        memory.write32(at, port);
      }
      return ports;
    },
  };
}

/** As a guest that has chosen the ABI and has words for 1024 ports. */
function setUpFifo(options: { processors?: number } = {}) {
  const guest = setUp(options);
  assert.equal(guest.events.initControl(0, BigInt(CONTROL), 0), 0);
  assert.equal(guest.events.expandArray(BigInt(WORDS)), 0);
  return guest;
}

test('control blocks: one for each processor, aligned, within a page of the guest’s', () => {
  const { events, held } = setUp({ processors: 2 });
  assert.equal(events.expandArray(BigInt(WORDS)), -EOPNOTSUPP, 'two levels');
  assert.equal(events.setPriority(1, 3), -ENOSYS, 'two levels');
  assert.equal(events.initControl(2, 1n << 60n, 3), -ENOENT, 'the processor comes first');
  assert.equal(events.initControl(0, BigInt(CONTROL), 4096 - 71), -EINVAL);
  assert.equal(events.initControl(0, BigInt(CONTROL), 4), -EINVAL);
  for (const frame of [255n, 1n << 40n, 2n ** 64n - 1n]) assert.equal(events.initControl(0, frame, 0), -EINVAL);
  assert.equal(events.expandArray(BigInt(WORDS)), -EOPNOTSUPP, 'still two levels');
  assert.equal(events.initControl(0, BigInt(CONTROL), 4096 - 72), 0);
  assert.equal(events.initControl(0, BigInt(CONTROL), 0), -EINVAL, 'once');
  assert.equal(events.initControl(1, BigInt(SECOND_CONTROL), 0), 0);
  assert.deepEqual([...held], [CONTROL, SECOND_CONTROL]);
});

test('the array of words grows a page at a time, to 128 of them', () => {
  const { events } = setUp();
  assert.equal(events.initControl(0, BigInt(CONTROL), 0), 0);
  assert.equal(events.expandArray(2n ** 64n - 1n), -EINVAL);
  for (let page = 0; page < 128; page++) assert.equal(events.expandArray(BigInt(WORDS + page)), 0);
  assert.equal(events.expandArray(BigInt(WORDS)), -ENOSPC);
});

test('events are linked in the order in which they come, and the upcall is marked once', () => {
  const { events, word, head, ready, take, upcalls } = setUpFifo();
  const [a, b, c] = [0, 0, 0].map(() => events.bindIpi(0));
  for (const port of [b, a, c, a]) assert.equal(events.send(port), 0);
  assert.equal(head(DEFAULT), b);
  assert.equal(ready(), 1 << DEFAULT);
  assert.deepEqual(upcalls, [0]);
  assert.equal(word(b), (PENDING | LINKED | a) >>> 0);
  assert.equal(word(c), (PENDING | LINKED) >>> 0, 'the last one has no link');
  assert.deepEqual(take(DEFAULT), [b, a, c]);
  events.send(c);
  assert.equal(head(DEFAULT), c, 'the queue began anew, though the same port was its end');
  assert.deepEqual(upcalls, [0, 0]);
  assert.deepEqual(take(DEFAULT), [c]);
});

test('a masked event becomes pending and is linked when it is unmasked', () => {
  const { events, word, setWord, head, take, upcalls } = setUpFifo();
  const port = events.bindIpi(0);
  setWord(port, MASKED);
  events.send(port);
  assert.equal(word(port), (PENDING | MASKED) >>> 0);
  assert.deepEqual([head(DEFAULT), upcalls], [0, []]);
  assert.equal(events.pending(port), true);
  assert.equal(events.unmask(port), 0);
  assert.deepEqual(take(DEFAULT), [port]);
  assert.equal(events.unmask(port), 0);
  assert.equal(word(port), 0, 'nothing pending, nothing raised');
});

test('priorities are queues of their own, for events to come', () => {
  const { events, ready, take, head } = setUpFifo();
  const [a, b] = [events.bindIpi(0), events.bindVirq(VIRQ_TIMER, 0)];
  assert.equal(events.setPriority(a, 16), -EINVAL);
  assert.equal(events.setPriority(40, 16), -EACCES, 'a port that is not bound, whatever the priority');
  assert.equal(events.setPriority(64, 0), -EINVAL, 'a port that is not valid');
  events.send(a);
  assert.equal(events.setPriority(a, 0), 0);
  events.send(a);
  assert.equal(ready(), 1 << DEFAULT, 'it is where it was linked');
  assert.deepEqual(take(DEFAULT), [a]);
  events.raiseVirq(VIRQ_TIMER, 0);
  events.send(a);
  assert.equal(ready(), (1 << DEFAULT) | 1);
  assert.deepEqual([head(0), head(DEFAULT)], [a, b]);
  // A port that is bound anew has the default priority.
  take(0);
  events.close(a);
  assert.equal(events.bindIpi(0), a);
  events.send(a);
  assert.deepEqual(take(DEFAULT), [b, a]);
});

test('the last event of a queue moves to another queue and leaves its own whole', () => {
  const { events, take, head } = setUpFifo();
  const [a, b] = [events.bindIpi(0), events.bindIpi(0)];
  events.send(a);
  take(DEFAULT);
  events.setPriority(a, 2);
  events.send(a);
  events.send(b);
  assert.deepEqual([head(2), head(DEFAULT)], [a, b]);
  assert.deepEqual(take(2), [a]);
  assert.deepEqual(take(DEFAULT), [b]);
});

test('each processor has its queues; an event of one without a control block is lost', () => {
  const { events, upcalls, take, word } = setUpFifo({ processors: 2 });
  const port = events.bindIpi(1);
  events.send(port);
  assert.equal(word(port), 0);
  assert.equal(events.initControl(1, BigInt(SECOND_CONTROL), 8), 0);
  events.send(port);
  assert.deepEqual(upcalls, [1]);
  const moved = events.allocateUnbound(0);
  events.bindHost(moved, 'back end');
  events.notify(moved, 'back end');
  assert.deepEqual(take(DEFAULT), [moved]);
  assert.equal(events.bindVcpu(moved, 1), 0);
  events.notify(moved, 'back end');
  assert.equal(word(port), (PENDING | LINKED | moved) >>> 0);
});

test('what was pending in shared_info, or has no word yet, is raised when its word comes', () => {
  const { events, take, memory, domain, upcalls } = setUp();
  const [quiet, early] = [events.bindIpi(0), events.bindIpi(0)];
  const beyond = () => {
    let port = 0;
    while (port < 1030) port = events.bindIpi(0);
    return port;
  };
  memory.fill(domain.sharedInfo.address + 0xa00, 512, 0xff);
  events.send(early);
  assert.deepEqual(upcalls, [], 'masked under two levels');
  assert.equal(events.initControl(0, BigInt(CONTROL), 0), 0);
  const far = beyond();
  events.send(far);
  assert.equal(events.expandArray(BigInt(WORDS)), 0);
  assert.deepEqual(take(DEFAULT), [early]);
  assert.equal(events.expandArray(BigInt(WORDS + 1)), 0);
  assert.deepEqual(take(DEFAULT), [far]);
  assert.equal(events.pending(quiet), false);
});

test('a closed port that is still linked keeps its number until the guest has unlinked it', () => {
  const { events, word, take } = setUpFifo();
  const port = events.bindIpi(0);
  events.send(port);
  assert.equal(events.close(port), 0);
  assert.equal(word(port), LINKED);
  assert.equal(events.bindIpi(0), port + 1);
  take(DEFAULT);
  assert.equal(events.bindIpi(0), port);
});

test('a reset gives the pages back and returns to two levels', () => {
  const { events, held, domain, memory } = setUpFifo();
  let port = 0;
  while (port < 5000) port = events.bindIpi(0);
  assert.equal(port, 5000, 'more ports than two levels have');
  events.reset();
  assert.deepEqual([...held], []);
  assert.equal(events.expandArray(BigInt(WORDS)), -EOPNOTSUPP);
  const again = events.bindIpi(0);
  events.send(again);
  assert.equal(memory.read32(domain.sharedInfo.address + 0x800), 1 << again);
  assert.equal(events.initControl(0, BigInt(CONTROL), 0), 0);
});

test('words and heads that a hostile guest writes lead nowhere', () => {
  const { events, setWord, word, head, memory } = setUpFifo();
  const [a, b] = [events.bindIpi(0), events.bindIpi(0)];
  events.send(a);
  setWord(a, 0xffffffff);
  memory.fill(CONTROL * 4096, 72, 0xff);
  events.send(b);
  assert.equal(word(a), (0xeffe0000 | b) >>> 0, 'the link of the word that was last, and no more');
  setWord(b, 0);
  memory.write32(CONTROL * 4096, 0);
  events.send(b);
  assert.equal(head(DEFAULT), b);
});
