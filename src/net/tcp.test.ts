/** Two connections of ours on a wire that loses, delays and doubles what it carries. Linux is the judge in tests/network.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../conformance/random.ts';
import { ManualClock } from '../devices/manual-clock.ts';
import { type Closed, RECEIVE_WINDOW, TcpConnection, type TcpUser, type TcpWire } from './tcp.ts';
import type { Segment } from './tcp-segment.ts';

interface Faults {
  /** Of a segment: the chance that it is lost, comes twice, comes late. */
  loss: number;
  double: number;
  late: number;
}

const NONE: Faults = { loss: 0, double: 0, late: 0 };

class End implements TcpUser {
  readonly connection: TcpConnection;
  readonly received: Uint8Array[] = [];
  readonly events: string[] = [];
  segments = 0;
  pending = 0;
  peer: End | undefined;

  constructor(clock: ManualClock, name: string, random: () => number, faults: Faults) {
    let serial = 0;
    const ticking = clock.timer(`${name}/tick`, () => {
      this.connection.tick();
      const { due } = this.connection;
      if (due !== undefined) wire.schedule(Math.max(due, clock.now()));
    });
    const wire: TcpWire = {
      now: () => clock.now(),
      random: () => Math.floor(random() * 2 ** 32) | 0,
      schedule(time) {
        if (ticking.due === undefined || time < ticking.due) ticking.at(time);
      },
      send: ({ payload, ...segment }, cut) => {
        const bytes = Buffer.concat(payload);
        // As the network's other side cuts it.
        for (let at = 0; at === 0 || at < bytes.length; at += cut) {
          this.segments++;
          const piece: Segment = {
            ...segment,
            sequence: (segment.sequence + at) | 0,
            payload: bytes.subarray(at, at + cut),
          };
          const last = at + cut >= bytes.length;
          const sent = last ? piece : { ...piece, flags: piece.flags & ~1 };
          for (let copies = random() < faults.double ? 2 : 1; copies > 0; copies--) {
            if (random() < faults.loss) continue;
            const delay = 100_000 + (random() < faults.late ? Math.floor(random() * 20_000_000) : 0);
            clock.timer(`${name}/${serial++}`, () => this.peer?.take(sent)).at(clock.now() + delay);
          }
        }
      },
    };
    this.connection = new TcpConnection(wire, this, 1460);
  }

  #listening = true;

  take(segment: Segment): void {
    if (segment.flags & 2 && !(segment.flags & 16) && this.#listening) {
      this.#listening = false;
      this.connection.accept(segment);
    } else this.connection.receive(segment);
  }

  established(): void {
    this.events.push('established');
  }
  data(bytes: Uint8Array): void {
    this.received.push(bytes.slice());
  }
  ended(): void {
    this.events.push('ended');
  }
  acknowledged(): void {}
  closed(why: Closed): void {
    this.events.push(why);
  }

  get text(): Buffer {
    return Buffer.concat(this.received);
  }
}

function pair(seed: number, faults: Faults) {
  const clock = new ManualClock();
  const { below } = createRandom(BigInt(seed));
  const random = () => below(2 ** 32) / 2 ** 32;
  const [a, b] = ['a', 'b'].map(name => new End(clock, name, random, faults));
  a.peer = b;
  b.peer = a;
  a.connection.open();
  return { clock, a, b, random };
}

function noise(length: number, random: () => number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

test('a connection is made, used both ways, closed by halves, and forgotten', () => {
  const { clock, a, b, random } = pair(1, NONE);
  const [there, back] = [noise(300_000, random), noise(200_000, random)];
  clock.advance(1e6);
  assert.deepEqual([a.events, b.events], [['established'], ['established']]);
  a.connection.write(there);
  a.connection.end();
  clock.advance(1e9);
  assert.deepEqual(b.text, Buffer.from(there));
  assert.deepEqual([a.events, b.events], [['established'], ['established', 'ended']]);
  b.connection.write(back);
  clock.advance(1e9);
  assert.deepEqual(a.text, Buffer.from(back));
  b.connection.end();
  clock.advance(10e9);
  assert.deepEqual(
    [a.events, b.events],
    [
      ['established', 'ended', 'done'],
      ['established', 'ended', 'done'],
    ],
  );
  assert.ok(a.segments < 500 && b.segments < 500, `${a.segments} and ${b.segments} segments: nothing was sent twice`);
});

test('whatever the wire does, each byte arrives once and in order', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const { clock, a, b, random } = pair(seed, { loss: 0.05, double: 0.05, late: 0.2 });
    const [there, back] = [noise(120_000, random), noise(60_000, random)];
    for (let at = 0; at < there.length; at += 7000) a.connection.write(there.subarray(at, at + 7000));
    for (let at = 0; at < back.length; at += 999) b.connection.write(back.subarray(at, at + 999));
    a.connection.end();
    b.connection.end();
    clock.advance(900e9);
    assert.ok(
      b.text.equals(there),
      `seed ${seed}: ${b.text.length} of ${there.length} bytes there; ${a.events}; ${b.events}`,
    );
    assert.ok(a.text.equals(back), `seed ${seed}: ${a.text.length} of ${back.length} bytes back`);
    for (const { events } of [a, b]) {
      assert.equal(events.filter(event => event === 'ended').length, 1, `seed ${seed}`);
      assert.notEqual(events.at(-1), 'ended', `seed ${seed}: closed`);
    }
  }
});

test('who takes nothing is sent no more than the window, and goes on when there is room again', () => {
  const { clock, a, b, random } = pair(2, NONE);
  clock.advance(1e6);
  b.pending = 0;
  const bytes = noise(3 * RECEIVE_WINDOW, random);
  // All that arrives stays there.
  b.data = piece => {
    b.received.push(piece.slice());
    b.pending += piece.length;
  };
  a.connection.write(bytes);
  clock.advance(20e9);
  assert.ok(b.text.length <= RECEIVE_WINDOW && b.text.length > RECEIVE_WINDOW / 2, `${b.text.length} bytes`);
  assert.deepEqual(a.events, ['established'], 'probes keep it alive');
  for (let round = 0; round < 20; round++) {
    b.pending = 0;
    const before = b.segments;
    b.connection.drained();
    assert.ok(b.segments === before + 1 || b.text.length === bytes.length, 'said at once');
    clock.advance(1e9);
  }
  assert.ok(b.text.equals(bytes));
});

test('a guest that is gone is noticed; a reset ends both ends', () => {
  const gone = pair(3, NONE);
  gone.clock.advance(1e6);
  gone.a.peer = undefined;
  gone.a.connection.write(Uint8Array.of(1));
  gone.clock.advance(600e9);
  assert.deepEqual(gone.a.events, ['established', 'timeout']);

  const reset = pair(4, NONE);
  reset.clock.advance(1e6);
  reset.a.connection.reset();
  reset.clock.advance(1e6);
  assert.deepEqual(reset.b.events, ['established', 'reset']);
});

test('what a stranger sends into a connection does not hurt it', () => {
  const { clock, a, b, random } = pair(5, NONE);
  clock.advance(1e6);
  const bytes = noise(50_000, random);
  for (let round = 0; round < 20_000; round++) {
    if (round % 1000 === 0) a.connection.write(bytes.subarray(round * 2.5, round * 2.5 + 2500));
    clock.advance(50_000);
    b.connection.receive({
      sequence: Math.floor(random() * 2 ** 32) | 0,
      acknowledgment: Math.floor(random() * 2 ** 32) | 0,
      flags: Math.floor(random() * 64) & ~4,
      window: Math.floor(random() * 65536),
      payload: new Uint8Array(0),
    });
  }
  clock.advance(10e9);
  assert.ok(b.text.equals(bytes), `${b.text.length} bytes`);
});
