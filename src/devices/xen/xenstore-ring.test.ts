import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FakeStoreClient, type StoreMessage } from '../../../tests/fake-store-client.ts';
import { createRandom } from '../../conformance/random.ts';
import { createLog } from '../../host/log.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { StateStore } from '../../state/state.ts';
import { StoreError, Xenstore } from './xenstore.ts';
import { XenstoreRing } from './xenstore-ring.ts';

const PAGE = 0x1000;
const types: Record<string, number> = {
  DIRECTORY: 1,
  READ: 2,
  WATCH: 4,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  WRITE: 11,
  WATCH_EVENT: 15,
  ERROR: 16,
};

function setUp() {
  const memory = new GuestMemory(new ArrayBuffer(0x4000), 0, 0x4000);
  const states = new StateStore();
  const store = new Xenstore(states);
  const log = createLog();
  store.write(0, '/local/domain/1', '');
  store.setPermissions(0, '/local/domain/1', ['n1']);
  const client = new FakeStoreClient(memory, PAGE);
  const ring = new XenstoreRing(states, 1, memory, { address: PAGE }, store, log, () => client.notifications++);
  client.onEvent = () => ring.onEvent();
  /** Sends one request and returns its answer; watch events are left out. */
  const ask = (type: number, payload: string, transaction = 0): StoreMessage => {
    const id = client.send(type, payload, transaction);
    const answer = client.receive().find(message => message.id === id && message.type !== types.WATCH_EVENT);
    assert.ok(answer);
    return answer;
  };
  return { memory, store, log, client, ring, ask };
}

test('a real guest: Linux 6.1 at a real xenstored asked this and was answered that', () => {
  const { store, client } = setUp();
  const trace = readFileSync(new URL('../../../../tests/oracle/xen/xenstore-trace.txt', import.meta.url), 'utf8');
  const lines = [...trace.matchAll(/^(IN|OUT) (\w+) \((.*)$/gm)].map(([, way, name, rest]) => ({
    incoming: way === 'IN',
    name: name!,
    // A closing parenthesis is missing where the log was cut; a space stands for a NUL.
    cut: !rest!.endsWith(')'),
    text: rest!.replace(/\)$/, ''),
  }));

  // The tree as the toolstack and the back ends had it.
  const home = '/local/domain/1';
  const vbd = '/local/domain/0/backend/vbd/1/51712';
  const vif = '/local/domain/0/backend/vif/1/0';
  const put = (path: string, value = '') => {
    store.write(0, path, value);
    store.setPermissions(0, path, path.startsWith(home) ? ['n1', 'r0'] : ['n0', 'r1']);
  };
  for (const name of ['static-max', 'target']) put(`${home}/memory/${name}`, '262144');
  for (const name of ['shutdown', 'sysrq']) put(`${home}/control/${name}`);
  put(`${home}/cpu/0/availability`, 'online');
  put(`${home}/device/suspend/event-channel`);
  for (const [name, value] of Object.entries({
    backend: vbd,
    'backend-id': '0',
    state: '1',
    'virtual-device': '51712',
    trusted: '1',
  }))
    put(`${home}/device/vbd/51712/${name}`, value);
  for (const [name, value] of Object.entries({ backend: vif, 'backend-id': '0', state: '1', trusted: '1' }))
    put(`${home}/device/vif/0/${name}`, value);
  put('/local/domain/0/backend');
  for (const path of [vbd, vif]) {
    const listing = lines.find(
      ({ name, text, incoming }) =>
        !incoming && name === 'DIRECTORY' && text.includes(path === vbd ? 'params' : 'bridge'),
    )!;
    put(path);
    for (const name of listing.text.split(' ').filter(Boolean)) put(`${path}/${name}`, name === 'state' ? '2' : '1');
  }
  put(`${vbd}/max-ring-page-order`, '4');
  put(`${vbd}/feature-max-indirect-segments`, '256');

  let transaction = 0;
  const answers: StoreMessage[] = [];
  const events: StoreMessage[] = [];
  const collect = () => {
    for (const message of client.receive()) (message.type === types.WATCH_EVENT ? events : answers).push(message);
  };
  for (const { incoming, name, text } of lines) {
    if (!incoming) continue;
    const payload =
      name === 'WRITE'
        ? text.replace(' ', '\0')
        : name === 'WATCH' || text.endsWith(' ')
          ? text.replaceAll(' ', '\0')
          : text;
    // The log does not say which requests were in the transaction: only the device's writes matter.
    const inside = name === 'TRANSACTION_END' || (name === 'WRITE' && text.startsWith('device/'));
    client.send(types[name]!, payload, inside ? transaction : 0, 7);
    collect();
    const answer = answers.at(-1)!;
    if (name === 'TRANSACTION_START') transaction = Number.parseInt(answer.payload, 10);
    if (name === 'TRANSACTION_END' && store.readText(`${home}/device/vbd/51712/state`) === '3') {
      const connected = {
        sectors: '16384',
        info: '0',
        'sector-size': '512',
        'physical-sector-size': '512',
        'feature-barrier': '1',
        'feature-flush-cache': '1',
        'feature-discard': '1',
        'discard-granularity': '4096',
        'discard-alignment': '0',
        'discard-secure': '0',
        'feature-persistent': '1',
        state: '4',
      };
      for (const [key, value] of Object.entries(connected)) put(`${vbd}/${key}`, value);
      collect();
    }
  }

  const names = Object.fromEntries(Object.entries(types).map(([name, type]) => [type, name]));
  const shown = (message: StoreMessage) => `${names[message.type]} (${message.payload.replaceAll('\0', ' ')})`;
  const outgoing = lines.filter(({ incoming }) => !incoming);
  const compare = (ours: StoreMessage[], theirs: typeof outgoing) => {
    for (const [index, { name, text, cut }] of theirs.entries()) {
      const expected = `${name} (${text}${cut ? '' : ')'}`;
      const actual = ours[index] ? shown(ours[index]) : 'nothing';
      assert.equal(cut ? actual.slice(0, expected.length) : actual, expected, `answer ${index}`);
    }
  };
  compare(
    answers,
    outgoing.filter(({ name }) => name !== 'WATCH_EVENT'),
  );
  // Our put() sets permissions after each write, which fires too: the same event twice running counts once.
  const distinct = events.filter((event, index) => shown(event) !== (index ? shown(events[index - 1]!) : ''));
  compare(
    distinct,
    outgoing.filter(({ name }) => name === 'WATCH_EVENT'),
  );
  assert.ok(answers.length > 70, `${answers.length} answers`);
});

test('messages of every length, in pieces of every size, wrap around the ring unharmed', () => {
  const { client } = setUp();
  for (let round = 0; round < 120; round++) {
    const value = 'x'.repeat((round * 37) % 2000);
    client.send(11, `data\0${value}`, 0, 1 + ((round * 13) % 1024));
    const [answer] = client.receive();
    assert.equal(answer?.payload, 'OK\0');
    client.send(2, 'data\0', 0, 5);
    assert.equal(client.receive()[0]?.payload, value);
  }
});

test('a transaction sees itself, others do not, and a conflict is EAGAIN', () => {
  const { store, ask } = setUp();
  const begin = () => Number.parseInt(ask(6, '\0').payload, 10);
  const first = begin();
  ask(11, 'data/a\0one', first);
  assert.equal(ask(2, 'data/a\0', first).payload, 'one');
  assert.equal(ask(2, 'data/a\0').payload, 'ENOENT\0');
  assert.equal(ask(7, 'T\0', first).payload, 'OK\0');
  assert.equal(ask(2, 'data/a\0').payload, 'one');

  const second = begin();
  assert.equal(ask(2, 'data/a\0', second).payload, 'one');
  store.write(0, '/local/domain/1/data/a', 'changed');
  ask(11, 'data/b\0two', second);
  assert.equal(ask(7, 'T\0', second).payload, 'EAGAIN\0');
  assert.equal(ask(2, 'data/b\0').payload, 'ENOENT\0');
  assert.equal(ask(7, 'T\0', second).payload, 'ENOENT\0', 'it is over');

  const third = begin();
  ask(13, 'data\0', third);
  assert.equal(ask(1, 'data\0', third).payload, 'ENOENT\0');
  assert.equal(ask(7, 'F\0', third).payload, 'OK\0');
  assert.equal(ask(1, 'data\0').payload, 'a\0');
  assert.equal(ask(2, 'data\0', 77).payload, 'ENOENT\0', 'no such transaction');
});

test('watches: below, at the path, on removal of an ancestor, relative and special ones', () => {
  const { client, store, ask } = setUp();
  ask(11, 'data/x/y\0');
  client.send(4, 'data/x/y\0deep\0');
  client.send(4, 'data\0shallow\0');
  client.send(4, '@releaseDomain\0special\0');
  client.receive();
  store.write(0, '/local/domain/1/data/x/y/z', '1');
  store.remove(0, '/local/domain/1/data/x');
  const events = client.receive().map(({ type, id, payload }) => [type, id, payload]);
  assert.deepEqual(events, [
    [15, 0, 'data/x/y/z\0deep\0'],
    [15, 0, 'data/x/y/z\0shallow\0'],
    [15, 0, 'data/x/y\0deep\0'],
    [15, 0, 'data/x\0shallow\0'],
  ]);
  assert.equal(ask(4, 'data\0shallow\0').payload, 'EEXIST\0');
  assert.equal(ask(5, 'data\0shallow\0').payload, 'OK\0');
  assert.equal(ask(5, 'data\0shallow\0').payload, 'ENOENT\0');
  assert.equal(ask(21, '\0').payload, 'OK\0');
  store.write(0, '/local/domain/1/data/x/y', '1');
  assert.deepEqual(client.receive(), []);
});

test('a guest sees and changes what permissions let it', () => {
  const { store, ask } = setUp();
  store.write(0, '/secret', 'x');
  store.write(0, '/shown', 'x');
  store.setPermissions(0, '/shown', ['n0', 'r1']);
  assert.equal(ask(2, '/secret\0').payload, 'EACCES\0');
  assert.equal(ask(2, '/secret/below\0').payload, 'EACCES\0', 'nor whether anything is there');
  assert.equal(ask(11, '/shown\0y').payload, 'EACCES\0');
  assert.equal(ask(2, '/shown\0').payload, 'x');
  assert.equal(ask(3, '/shown\0').payload, 'n0\0r1\0');
  assert.equal(ask(14, '/shown\0n1\0').payload, 'EACCES\0');
  assert.equal(ask(11, 'data/mine\0z').payload, 'OK\0');
  assert.equal(ask(3, 'data/mine\0').payload, 'n1\0');
  assert.equal(ask(14, 'data/mine\0n1\0r0\0').payload, 'OK\0');
  assert.equal(ask(14, 'data/mine\0n0\0').payload, 'EPERM\0', 'a guest cannot give a node away');
  assert.equal(ask(13, '/shown\0').payload, 'EACCES\0');
  assert.equal(ask(8, '1\0').payload, 'EACCES\0');
});

test('the rest of the requests', () => {
  const { ask, store } = setUp();
  assert.equal(ask(10, '7\0').payload, '/local/domain/7\0');
  assert.equal(ask(17, '1\0').payload, 'T\0');
  assert.equal(ask(17, '9\0').payload, 'F\0');
  assert.equal(ask(12, 'data/made\0').payload, 'OK\0');
  assert.equal(ask(1, 'data/made\0').payload, '', 'a leaf has an empty listing');
  assert.equal(ask(13, 'data/none\0').payload, 'OK\0');
  assert.equal(ask(13, 'none/none\0').payload, 'ENOENT\0');
  for (let index = 0; index < 500; index++) store.write(0, `/local/domain/1/many/number-${index}`, '');
  assert.equal(ask(1, 'many\0').payload, 'E2BIG\0');
  let listing = '';
  for (let offset = 0; ; ) {
    const { payload } = ask(22, `many\0${offset}\0`);
    const part = payload.slice(payload.indexOf('\0') + 1);
    listing += part;
    offset += part.length;
    if (listing.endsWith('\0\0')) break;
  }
  assert.equal(listing.split('\0').filter(Boolean).length, 500);
});

test('nonsense gets an error, never more', () => {
  const { ask } = setUp();
  const bad: [number, string][] = [
    [2, ''],
    [2, 'data'],
    [2, '\0'],
    [2, 'a//b\0'],
    [2, 'a/\0'],
    [2, 'a b\0'],
    [2, `/${'x'.repeat(3100)}\0`],
    [2, 'a\0b\0'],
    [4, 'path\0'],
    [11, 'no-nul'],
    [14, 'data\0q7\0'],
    [7, 'X\0'],
    [10, 'abc\0'],
    [13, '/\0'],
    [22, 'data\0-1\0'],
    [99, ''],
    [20, ''],
  ];
  for (const [type, payload] of bad) assert.equal(ask(type, payload).type, 16, `type ${type} ${payload.slice(0, 20)}`);
});

test('quotas stop a guest that fills the store', () => {
  const { ask, store } = setUp();
  const until = (limit: number, each: (index: number) => StoreMessage): string => {
    for (let index = 0; index < limit; index++) {
      const answer = each(index);
      if (answer.type === 16) return answer.payload;
    }
    return 'none';
  };
  assert.equal(
    until(1100, index => ask(11, `data/n${index}\0`)),
    'ENOSPC\0',
  );
  assert.equal(
    until(200, index => ask(4, `data\0token${index}\0`)),
    'E2BIG\0',
  );
  assert.equal(
    until(20, () => ask(6, '\0')),
    'ENOSPC\0',
  );
  assert.equal(ask(11, `name\0${'v'.repeat(3000)}`).payload, 'ENOSPC\0');
  const inside = Number.parseInt(setUp().ask(6, '\0').payload, 10);
  assert.equal(inside, 1);
  assert.doesNotThrow(() => store.write(0, '/local/domain/1/data/host', 'x'));
});

test('quotas hold for what a transaction makes', () => {
  const { ask } = setUp();
  const id = Number.parseInt(ask(6, '\0').payload, 10);
  for (let index = 0; index < 1005; index++) ask(11, `data/n${index}\0`, id);
  assert.equal(ask(7, 'T\0', id).payload, 'ENOSPC\0');
  assert.equal(ask(1, 'data\0').payload, 'ENOENT\0');
});

test('indices that cannot be, and lengths too long, end the conversation and nothing else', () => {
  for (const attack of ['index', 'length'] as const) {
    const { memory, client, ring, log, store } = setUp();
    if (attack === 'index') {
      memory.write32(PAGE + 0x804, 5000);
      ring.onEvent();
    } else client.sendRaw(Uint8Array.from([2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]));
    assert.equal(memory.read32(PAGE + 0x818), attack === 'index' ? 2 : 3);
    assert.equal(log.lines.length, 1);
    store.write(0, '/local/domain/1/x', 'the store lives on');
    // Reconnecting, as the protocol has it, starts anew.
    memory.write32(PAGE + 0x814, 1);
    ring.onEvent();
    assert.equal(memory.read32(PAGE + 0x814), 0);
    client.send(2, 'x\0');
    assert.equal(client.receive()[0]?.payload, 'the store lives on');
  }
});

test('a guest that takes no answers is not given memory without end', () => {
  const { memory, client, ring } = setUp();
  client.send(11, `data\0${'v'.repeat(2000)}`);
  // Requests are 21 bytes, answers 2016: the ring of answers fills, then requests stay where they are.
  for (let round = 0; round < 200; round++) {
    const free = 1024 - ((memory.read32(PAGE + 0x804) - memory.read32(PAGE + 0x800)) >>> 0);
    if (free < 21) break;
    client.send(2, 'data\0');
  }
  assert.ok((memory.read32(PAGE + 0x804) - memory.read32(PAGE + 0x800)) >>> 0 > 900, 'requests wait');
  memory.write32(PAGE + 0x808, 0xdeadbeef);
  assert.doesNotThrow(() => ring.onEvent());
});

test('store errors carry the name that goes over the wire', () => {
  const store = new Xenstore(new StateStore());
  assert.throws(
    () => store.read(0, '/none'),
    (error: unknown) => error instanceof StoreError && error.code === 'ENOENT',
  );
});

test('random messages: the store answers or breaks off, and never throws', () => {
  const random = createRandom(5n);
  const paths = ['data', 'device', '/', '/local/domain/1', '@releaseDomain', 'data/a', 'control/shutdown', '..', ''];
  for (let round = 0; round < 30; round++) {
    const { client, store } = setUp();
    store.write(0, '/local/domain/1/device/vbd', 'x');
    for (let each = 0; each < 150; each++) {
      const parts = Array.from({ length: random.below(4) }, () =>
        random.below(8) ? random.of(paths) : String.fromCharCode(random.below(256), random.below(256)),
      );
      const payload = parts.join('\0') + (random.below(4) ? '\0' : '');
      client.send(random.below(24), payload, random.below(5) ? 0 : random.below(4), 1 + random.below(64));
      client.receive();
    }
    client.sendRaw(Uint8Array.from({ length: 200 }, () => random.below(256)));
    client.receive();
  }
});
