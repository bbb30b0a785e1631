import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeStoreClient } from '../../../tests/fake-store-client.ts';
import { parseKernel } from '../../boot/image.ts';
import { FakeProcessor, fakeContext, noFirmware } from '../../conformance/fake-processor.ts';
import { tinyKernel } from '../../conformance/tiny-elf.ts';
import type { Disk } from '../../host/disk.ts';
import { DOMID_SELF } from '../xen/constants.ts';
import { DomainSlot } from '../xen/domain-slot.ts';
import { createBoot } from './boot.ts';
import { createCpu } from './cpu.ts';
import { HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_PFN } from './hvm-op.ts';
import type { PvhDomain } from './pvh-domain.ts';

const MEMORY = 16 << 20;
const ARGUMENTS = 0x100000;
const SHARED_INFO = 0x110000;
const BLOCK_RING = 0x120000;
const DATA = 0x130000;
/** Outside RAM: the first frame of the grant table is put here, on the bus. */
const GRANTS = 0x8000_0000;
const UPCALL_VECTOR = 0xf3;
const SECTORS = 64;
const kernel = parseKernel(tinyKernel([0xf4, 0xeb, 0xfd]));

const disk: Disk = {
  name: 'test',
  size: SECTORS * 512,
  readOnly: false,
  read: (offset, into) => void into.fill(offset / 512 + 1),
  write: () => {},
  flush: () => {},
  discard: () => {},
  close: () => {},
};

type Op<F> = Extract<F, (...rest: never[]) => unknown>;

/** A guest as its kernel begins. */
async function boot() {
  const cpu = new FakeProcessor({ memory: MEMORY });
  const fake = fakeContext(cpu);
  const context = { ...fake, backEnds: { ...fake.backEnds, disks: [disk] } };
  const { memory, log } = context;
  const slot = new DomainSlot<PvhDomain>();
  const domain = () => slot.domain;
  const cpuOps = createCpu(context, slot);
  const { load } = createBoot(context, slot);
  (load as Op<typeof load>)(
    { image: await kernel, initrd: undefined, natively: noFirmware, commandLine: 'x', memory, log },
    context,
  );
  const call = (number: number, ...values: (number | bigint)[]): number => {
    cpu.set('rax', BigInt(number));
    for (const [index, register] of (['rdi', 'rsi', 'rdx', 'r10', 'r8'] as const).entries())
      cpu.set(register, BigInt(values[index] ?? 0));
    (cpuOps.hypercall as Op<typeof cpuOps.hypercall>)(cpu);
    return Number(BigInt.asIntN(64, cpu.get('rax')));
  };
  /** Stores 32-bit words at ARGUMENTS. */
  const words = (...values: number[]) => {
    for (const [index, value] of values.entries()) memory.write32(ARGUMENTS + 4 * index, value);
    return ARGUMENTS;
  };
  const send = (port: number) => assert.equal(call(32, 4, words(port)), 0);
  const { parameters } = domain().state;
  const ring = (parameter: number) => Number(parameters.get(parameter)!) * 4096;
  const client = new FakeStoreClient(memory, ring(HVM_PARAM_STORE_PFN));
  client.onEvent = () => send(domain().domain.state.xenstorePort);
  return { cpu, context, memory, domain, call, words, send, client, console: ring(HVM_PARAM_CONSOLE_PFN) };
}

type Guest = Awaited<ReturnType<typeof boot>>;

const XS_WATCH = 4;
const XS_WRITE = 11;
/** The first event port that is free: the store and the console have the two before it. */
const TIMER_PORT = 3;
const BLOCK_PORT = 4;

/** Brings everything into the middle of something. */
function begin({ cpu, context, memory, call, words, client }: Guest): void {
  cpu.clock.advance(500);
  assert.equal(call(34, 23, words(0, UPCALL_VECTOR)), 0);
  const place = (space: number, address: number) =>
    assert.equal(call(12, 7, words(DOMID_SELF, space, 0, 0, address >>> 12, 0)), 0);
  place(0, SHARED_INFO);
  place(1, GRANTS);
  // Two timers, and a poll with a time-out.
  assert.equal(call(32, 1, words(0, 0)), 0);
  assert.equal(memory.read32(ARGUMENTS + 8), TIMER_PORT);
  call(15, 10_000);
  assert.equal(call(24, 6, 0, words(2_000_000, 0)), 0);
  // A disk whose front end is connected.
  assert.equal(call(32, 6, words(DOMID_SELF)), 0);
  assert.equal(memory.read32(ARGUMENTS + 4), BLOCK_PORT);
  for (const [reference, address] of [
    [8, BLOCK_RING],
    [9, DATA],
  ] as const) {
    context.mmio.write(GRANTS + 8 * reference + 4, 4, address >>> 12, cpu);
    context.mmio.write(GRANTS + 8 * reference, 4, 1, cpu);
  }
  memory.write32(BLOCK_RING + 4, 1);
  memory.write32(BLOCK_RING + 12, 1);
  client.send(XS_WATCH, 'device/vbd/51712/state\0token\0');
  const front = { 'ring-ref': 8, 'event-channel': BLOCK_PORT, state: 3 };
  for (const [name, value] of Object.entries(front)) client.send(XS_WRITE, `device/vbd/51712/${name}\0${value}`);
  client.send(XS_WATCH, '/local/domain/0/backend/vbd/1/51712/state\0back\0');
  client.receive();
  // Half a message to the store, and more typed than the console's ring holds.
  client.sendRaw(message(XS_WRITE, 'data/half\0whole').subarray(0, 20));
  context.type(Uint8Array.from({ length: 3000 }, (_, index) => index));
  // And a processor that waits.
  assert.equal(call(29, 3, words(DATA, 0, 1, 0, 3_000_000, 0)), 0);
}

function message(type: number, payload: string): Uint8Array {
  const bytes = new Uint8Array(16 + payload.length);
  new DataView(bytes.buffer).setUint32(0, type, true);
  bytes[12] = payload.length;
  bytes.set(new TextEncoder().encode(payload), 16);
  return bytes;
}

/** Bit of `port` in evtchn_pending. */
const isPending = ({ memory }: Guest, port: number) =>
  (memory.read8(SHARED_INFO + 0x800 + (port >> 3)) >> (port & 7)) & 1;
/** What a guest does in its upcall. */
function acknowledge({ memory }: Guest): void {
  memory.fill(SHARED_INFO + 0x800, 8);
  memory.write8(SHARED_INFO, 0);
  memory.write64(SHARED_INFO + 8, 0n);
}

/** What happens afterwards, and what must have come of it. */
const steps: Record<string, (guest: Guest) => void> = {
  'the rest of a message to the store'(guest) {
    guest.client.sendRaw(message(XS_WRITE, 'data/half\0whole').subarray(20));
    assert.ok(guest.client.receive().some(({ type, payload }) => type === XS_WRITE && payload === 'OK\0'));
  },
  'the one-shot timer'(guest) {
    acknowledge(guest);
    guest.cpu.clock.advance(10_000);
    assert.equal(isPending(guest, TIMER_PORT), 1);
    assert.ok(guest.cpu.interrupts!.requested.has(UPCALL_VECTOR));
  },
  'the periodic timer'(guest) {
    acknowledge(guest);
    guest.cpu.clock.advance(1_980_000);
    assert.equal(isPending(guest, TIMER_PORT), 0, 'not yet');
    guest.cpu.clock.advance(20_000);
    assert.equal(isPending(guest, TIMER_PORT), 1);
  },
  'a request to the disk'(guest) {
    const { memory } = guest;
    acknowledge(guest);
    memory.fill(BLOCK_RING + 64, 112);
    memory.write8(BLOCK_RING + 64 + 1, 1);
    memory.write64(BLOCK_RING + 64 + 8, 77n);
    memory.write64(BLOCK_RING + 64 + 16, 5n);
    memory.write32(BLOCK_RING + 64 + 24, 9);
    memory.write8(BLOCK_RING + 64 + 29, 7);
    memory.write32(BLOCK_RING, 1);
    guest.send(BLOCK_PORT);
    assert.equal(memory.read32(BLOCK_RING + 8), 1, 'a response');
    assert.equal(memory.read16(BLOCK_RING + 64 + 10), 0, 'BLKIF_RSP_OKAY');
    assert.equal(memory.read8(DATA), 6);
    assert.equal(isPending(guest, BLOCK_PORT), 1);
  },
  'the rest of what was typed'(guest) {
    const { memory, console } = guest;
    assert.equal(memory.read32(console + 0xc04), 1024, 'the ring is full');
    memory.write32(console + 0xc00, 1024);
    guest.send(guest.domain().domain.state.consolePort);
    assert.equal(memory.read32(console + 0xc04), 2048);
    assert.equal(memory.read8(console), 1024 & 0xff);
  },
  'the grant table on the bus'(guest) {
    const { mmio } = guest.context;
    assert.equal(mmio.read(GRANTS + 8 * 8, 2, guest.cpu), 1 | 8 | 16, 'in use: the ring');
    assert.equal(mmio.read(GRANTS + 8 * 9, 2, guest.cpu), 1);
  },
  'the front end closes'(guest) {
    guest.client.sendRaw(message(XS_WRITE, 'device/vbd/51712/state\x006'));
    const events = guest.client.receive().filter(({ type }) => type === 15);
    // The back end watches, too, and has done so for longer.
    assert.deepEqual(
      events.map(({ payload }) => payload),
      ['/local/domain/0/backend/vbd/1/51712/state\0back\0', 'device/vbd/51712/state\0token\0'],
    );
    assert.equal(guest.context.mmio.read(GRANTS + 8 * 8, 2, guest.cpu), 1, 'given back');
    const { grants } = guest.domain().domain;
    const page = grants.map(8, true)!;
    assert.equal(page.address, BLOCK_RING);
    grants.unmap(page);
  },
  'a frame leaves the bus'(guest) {
    assert.equal(guest.call(12, 15, guest.words(DOMID_SELF, 0, GRANTS >>> 12, 0)), 0);
    assert.equal(guest.context.mmio.find(GRANTS), undefined);
  },
};

test('a domain that was saved in the middle of everything and restored goes on as the other one does', async () => {
  const original = await boot();
  begin(original);
  const tree = original.cpu.states.save();
  const restored = await boot();
  assert.notDeepEqual(restored.cpu.states.save(), tree, 'there is something to restore');
  restored.domain().restoring();
  restored.cpu.restore(original.cpu, tree);
  restored.domain().restored();
  const compare = (when: string) => {
    assert.deepEqual(restored.cpu.states.save(), original.cpu.states.save(), when);
    assert.equal(Buffer.compare(restored.memory.bytes, original.memory.bytes), 0, `${when}: memory`);
  };
  compare('restored');
  for (const [when, step] of Object.entries(steps)) {
    step(original);
    step(restored);
    compare(when);
  }
});

test('what was saved does not change with the machine', async () => {
  const guest = await boot();
  begin(guest);
  const tree = guest.cpu.states.save();
  const copy = structuredClone(tree);
  for (const step of Object.values(steps)) step(guest);
  assert.deepEqual(tree, copy);
});
