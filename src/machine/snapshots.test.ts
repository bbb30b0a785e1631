/** A machine as data: at any instant, in either tier; and what is no snapshot, or not this machine's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { noCompression } from '../host/compression.ts';
import type { Disk } from '../host/disk.ts';
import { portableCompression } from '../host/portable-compression.ts';
import { pagesOf } from '../snapshot/memory-pages.ts';
import { Snapshot, type SnapshotSource } from '../snapshot/snapshot.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { assemble } from './machine.ts';
import type { MachineOptions } from './options.ts';

const MEMORY = 16 << 20;
const ANSWERS = 0x800000;
/** A page that holds code, and is filled again and again. */
const FILLED = 0x900000;
const OFTEN = 3000;

const u32 = (value: number) => [0, 8, 16, 24].map(shift => (value >>> shift) & 0xff);
const out = (port: number, value: number) => [0x66, 0xba, port & 0xff, port >> 8, 0xb0, value, 0xee];
const OUTER = [
  ...[0xbf, ...u32(FILLED), 0xb0, 0xc3, 0xb9, ...u32(3000), 0xf3, 0xaa], // edi, al = RET, ecx; rep stosb
  ...[0xb8, ...u32(FILLED + 2000), 0xff, 0xd0], // call eax: the page has code from now on
  ...[0x0f, 0x31, 0x31, 0x05, ...u32(ANSWERS), 0x0f, 0xc7, 0xf0, 0x01, 0x05, ...u32(ANSWERS + 4)], // rdtsc, rdrand
];
/** The kernel: fills a page with RETs, calls one, mixes in the time and random numbers, and writes a character; again. */
const KERNEL = tinyKernel([
  ...[0xbc, ...u32(0x700000), 0xbb, ...u32(OFTEN)], // mov esp; mov ebx, OFTEN
  ...OUTER,
  ...out(0x3f8, 0x2e),
  ...[0x4b, 0x0f, 0x85, ...u32(-(OUTER.length + 7 + 7))], // dec ebx; jnz OUTER
  0xf4,
]);

async function machine(options: Partial<MachineOptions> = {}) {
  let text = 0;
  const console = { write: (data: Uint8Array) => void (text += data.length), onInput: () => {} };
  const made = await assemble({ memory: MEMORY, console, ...options });
  return { ...made, written: () => text };
}
const started = (options: Partial<MachineOptions> = {}) => machine({ kernel: KERNEL, ...options });

type Made = Awaited<ReturnType<typeof machine>>;
/** Runs to the end. @returns all that a guest can leave behind */
async function endOf({ machine, engine }: Made) {
  const exit = await machine.run({ instructions: 1e9 });
  const { instructions } = machine;
  return { exit, instructions, answers: engine.memory.copyOut(ANSWERS, 8), rip: engine.cpu.rip };
}
const encoded = async (snapshot: Snapshot) => Snapshot.decode(await snapshot.encode());

for (const tier of ['interpreter', 'jit'] as const)
  test(`${tier}: whenever it was stopped, a restored machine ends like one that was not`, async () => {
    const expected = await endOf(await started({ engine: tier }));
    assert.equal(expected.exit.kind, 'dead-halt');
    for (let at = 1; at < expected.instructions; at = at * 2 + 3) {
      const first = await started({ engine: tier });
      await first.machine.run({ instructions: at });
      const snapshot = await encoded(first.machine.snapshot());
      const other = tier === 'jit' ? 'interpreter' : 'jit';
      for (const engine of [tier, other] as const) {
        const restored = await machine({ snapshot, engine });
        assert.equal(restored.machine.instructions, at);
        assert.deepEqual(await endOf(restored), expected, `restored at ${at}, ${engine}`);
        assert.equal(first.written() + restored.written(), OFTEN);
      }
      assert.deepEqual(await endOf(first), expected, `the one that was saved at ${at}`);
    }
  });

test('machines made of one snapshot share nothing', async () => {
  const first = await started();
  await first.machine.run({ instructions: 10_000 });
  const snapshot = first.machine.snapshot();
  const expected = await endOf(await machine({ snapshot }));
  const forks = await Promise.all(Array.from({ length: 5 }, () => machine({ snapshot })));
  for (const fork of forks) await fork.machine.run({ instructions: 1000 });
  for (const fork of forks) assert.deepEqual(await endOf(fork), expected);
});

test('a passing snapshot, whose memory is not copied, is written like another', async () => {
  const first = await started();
  await first.machine.run({ instructions: 10_000 });
  const passing = await Snapshot.decode(
    await first.machine.snapshot({ passing: true }).encode(noCompression),
    noCompression,
  );
  const copied = first.machine.snapshot();
  const expected = await endOf(await machine({ snapshot: copied }));
  assert.deepEqual(await endOf(await machine({ snapshot: passing })), expected);
  assert.deepEqual(pagesOf(passing.memory), pagesOf(copied.memory));
});

test('a snapshot whose memory stays in its file makes the same machine; cut short, it is refused', async () => {
  const first = await started();
  await first.machine.run({ instructions: 10_000 });
  for (const passing of [true, false]) {
    const stored = await first.machine.snapshot({ passing }).encode(noCompression);
    const source = (bytes: Uint8Array): SnapshotSource => ({
      size: bytes.length,
      bytes: (at, length) => bytes.slice(at, at + length),
      readInto: (target, at) => target.set(bytes.subarray(at, at + target.length)),
    });
    const snapshot = Snapshot.from(source(stored));
    const expected = await endOf(await machine({ snapshot: first.machine.snapshot() }));
    assert.deepEqual(await endOf(await machine({ snapshot })), expected);
    for (const length of [0, 7, 12, 200, stored.length >> 1, stored.length - 1])
      assert.throws(() => Snapshot.from(source(stored.subarray(0, length))), SnapshotError, `${length} bytes`);
  }
});

test('with another random seed the forks differ', async () => {
  const first = await started({ clock: fixedClock() });
  await first.machine.run({ instructions: 10_000 });
  const snapshot = first.machine.snapshot();
  const ends = [];
  for (let i = 0; i < 2; i++) ends.push((await endOf(await machine({ snapshot, clock: fixedClock() }))).answers);
  assert.notDeepEqual(ends[0], ends[1]);
});

test('a guest on the host’s clock finds the wall’s time after a restore', async () => {
  const first = await started({ clock: fixedClock() });
  await first.machine.run({ instructions: 10_000 });
  const snapshot = first.machine.snapshot();
  const DAY = 86_400_000_000_000n;
  const restored = await machine({ snapshot, clock: fixedClock(DAY) });
  const { states, header } = restored.machine.snapshot();
  const { epoch } = states.clock!.value as { epoch: bigint };
  assert.equal(epoch + BigInt(Math.floor(header.guestTime)), DAY);
});

/** A host's clock that stands still. */
function fixedClock(wall = 0n) {
  return {
    now: () => 0,
    wall: () => wall,
    turn: async () => {},
    sleep: () => ({ over: Promise.resolve(), wake() {} }),
  };
}

test('there is no snapshot from within what the guest asks', async () => {
  let inside: unknown;
  const asking = await started({
    console: {
      write: () => {
        try {
          asking.machine.snapshot();
        } catch (error) {
          inside = error;
        }
      },
      onInput: () => {},
    },
  });
  await asking.machine.run({ instructions: 1e9 });
  assert.match(String(inside), /while the guest executes/);
});

function disk(content: number, readOnly = true): Disk {
  const nothing = () => {};
  const read = (_: number, into: Uint8Array) => void into.fill(content);
  return {
    name: 'a.img',
    size: 8192,
    readOnly,
    read,
    write: nothing,
    flush: nothing,
    discard: nothing,
    close: nothing,
  };
}

test('another machine than the snapshot’s is refused, with what differs', async () => {
  const first = await started({ disks: [disk(1)] });
  const snapshot = first.machine.snapshot();
  const refused = (options: Partial<MachineOptions>, reason: RegExp) =>
    assert.rejects(machine({ snapshot, disks: [disk(1)], ...options }), reason);
  await refused({ disks: [disk(2)] }, /the disk a\.img has other contents/);
  await refused({ disks: [disk(1, false)] }, /the disk a\.img is writable, and was not/);
  await refused({ disks: [] }, /disks: 1, not 0/);
  await refused({ hypervisor: 'kvm' }, /hypervisor bare, not kvm/);
  await refused({ memory: MEMORY * 2 }, /RAM, in bytes: 16777216, not 33554432/);
  await refused({ clock: fixedClock() }, /clock virtual, not host/);
  await refused({ kernel: KERNEL }, /kernel: the guest is the snapshot's/);
  await machine({ snapshot, disks: [disk(1)] });
});

test('bytes that are no snapshot, cut short or damaged are refused in a line', async () => {
  const bytes = await (await started()).machine.snapshot().encode();
  const decoded = (data: Uint8Array) => Snapshot.decode(data, portableCompression);
  for (const length of [0, 7, 12, 20, 200, bytes.length / 2, bytes.length - 1])
    await assert.rejects(decoded(bytes.subarray(0, length)), SnapshotError, `${length} bytes`);
  await assert.rejects(decoded(Uint8Array.of(...bytes, 0)), /more after its end/);
  const version = bytes.slice();
  version[8] = 77;
  await assert.rejects(decoded(version), /it has format 77, and this version of Polyvisor reads format 1/);
  // Every byte behind the header counts for a checksum or for the container.
  const start = 16 + new DataView(bytes.buffer).getUint32(12, true);
  for (let at = start; at < bytes.length; at += 101) {
    const damaged = bytes.slice();
    damaged[at]! ^= 0x10;
    const read: unknown = await decoded(damaged).catch(error => error);
    if (read instanceof SnapshotError) continue;
    // But for the bits that fill the last byte of what is packed (RFC 1951): they mean nothing.
    assert.ok(read instanceof Snapshot, `byte ${at} is damaged`);
    assert.deepEqual(await read.encode(), bytes, `byte ${at} is damaged`);
  }
});

test('states that do not fit are refused, and registers of too many bits', async () => {
  const snapshot = (await started()).machine.snapshot();
  const { header, memory, states, processors } = snapshot;
  const refused = (changed: Partial<Snapshot>, reason: RegExp) =>
    assert.rejects(
      machine({ snapshot: new Snapshot(header, { states, processors, ...changed }, memory) }),
      (error: unknown) => error instanceof SnapshotError && reason.test(error.message),
    );
  const { clock: _, ...others } = states;
  await refused({ states: others }, /state clock: missing/);
  await refused({ processors: [7] }, /processor 0: number where it began as object/);
  const saved = processors[0] as { registers: Map<string, bigint> };
  const registers = new Map(saved.registers).set('CR0', 1n << 64n);
  await refused({ processors: [{ ...saved, registers }] as never }, /CR0 has more than 64 bits/);
});
