/** A network interface with several queues, by the store; what is in the rings is met by Linux and by tests/fuzz/network-rings.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from '../../host/log.ts';
import type { NetworkPort } from '../../host/network.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { StateStore } from '../../state/state.ts';
import { ManualClock } from '../manual-clock.ts';
import type { BackEnd, BackendHost } from './backend.ts';
import { connectNetwork } from './network-backend.ts';
import { Xenstore } from './xenstore.ts';

const PAGE = 4096;
const FRONT = '/local/domain/1/device/vif/0';
const BACK = '/local/domain/0/backend/vif/1/0';

function setUp(processors: number) {
  const memory = new GuestMemory(new ArrayBuffer(64 * PAGE), 0, 64 * PAGE);
  const states = new StateStore();
  const store = new Xenstore(states);
  const bound: number[] = [];
  const told: number[] = [];
  const mapped = new Set<number>();
  const ends: { backEnd?: BackEnd; port?: NetworkPort } = {};
  const host: BackendHost = {
    ...{ domain: 1, memory, store, log: createLog(), clock: new ManualClock(0n, states) },
    state: (name, version, initial) => states.state(name, version, initial),
    register: (_name, registered) => void (ends.backEnd = registered),
    map: reference => {
      if (reference < 1 || reference > 60) return undefined;
      mapped.add(reference);
      return { handle: reference, address: reference * PAGE };
    },
    unmap: ({ handle }) => void mapped.delete(handle),
    bind: port => port < 100 && bound.push(port) > 0,
    notify: port => void told.push(port),
    unbind: port => void bound.splice(bound.indexOf(port), 1),
  };
  store.listen(0, () => ends.backEnd?.onWatch());
  store.write(0, '/local/domain/1', '');
  const network = { name: 'n', connect: (port: NetworkPort) => void (ends.port = port), send() {} };
  connectNetwork(host, network, 0, processors);
  const set = (name: string, value: number) => store.write(0, `${FRONT}/${name}`, String(value));
  /** Connects with a queue for each port; the rings of queue n are pages 2 n + 1 and 2 n + 2. */
  const connect = (ports: readonly number[], flat = false) => {
    set('request-rx-copy', 1);
    if (!flat) set('multi-queue-num-queues', ports.length);
    for (const [queue, port] of ports.entries()) {
      const prefix = ports.length === 1 ? '' : `queue-${queue}/`;
      set(`${prefix}tx-ring-ref`, 2 * queue + 1);
      set(`${prefix}rx-ring-ref`, 2 * queue + 2);
      set(`${prefix}event-channel`, port);
    }
    set('state', 4);
    return store.readText(`${BACK}/state`);
  };
  return {
    memory,
    store,
    set,
    connect,
    bound,
    told,
    mapped,
    receive: (frame: Uint8Array) => ends.port!.receive(frame),
  };
}

/** UDP between ports. */
function frame(port: number): Uint8Array {
  const bytes = new Uint8Array(60);
  bytes.set([8, 0, 0x45], 12);
  bytes[23] = 17;
  bytes.set([0, port, 0, 53], 34);
  return bytes;
}

test('the guest hears how many queues there may be', () => {
  assert.equal(setUp(1).store.readText(`${BACK}/multi-queue-max-queues`), undefined);
  assert.equal(setUp(4).store.readText(`${BACK}/multi-queue-max-queues`), '4');
  assert.equal(setUp(64).store.readText(`${BACK}/multi-queue-max-queues`), '16');
});

test('each queue has its rings and its port; a flow stays in one', () => {
  const { memory, set, connect, bound, told, mapped, receive } = setUp(4);
  assert.equal(connect([11, 12, 13, 14]), '4');
  assert.deepEqual([bound, mapped.size], [[11, 12, 13, 14], 8]);
  for (let queue = 0; queue < 4; queue++) {
    const ring = (2 * queue + 2) * PAGE;
    for (let slot = 0; slot < 32; slot++) memory.write32(ring + 64 + 8 * slot + 4, 40);
    memory.write32(ring, 32);
    memory.write32(ring + 12, 1);
  }
  const filled = () => [0, 1, 2, 3].map(queue => memory.read32((2 * queue + 2) * PAGE + 8));
  for (let count = 0; count < 3; count++) receive(frame(7));
  assert.equal(filled().filter(count => count === 3).length, 1);
  assert.equal(told.length > 0 && told.every(port => port === told[0]), true);
  for (let port = 0; port < 8; port++) receive(frame(port));
  assert.ok(
    filled().every(count => count > 0),
    filled().join(),
  );
  set('state', 6);
  assert.deepEqual([bound, mapped.size], [[], 0]);
});

test('a guest that knows one queue alone, and offers that are no good', () => {
  assert.equal(setUp(4).connect([11], true), '4');
  const { connect, bound, mapped } = setUp(2);
  assert.equal(connect([11, 200]), '2', 'a port that cannot be bound');
  assert.deepEqual([bound, mapped.size], [[], 0], 'what was taken is given back');
  assert.equal(setUp(2).connect([11, 12, 13]), '2', 'more than there are');
});
