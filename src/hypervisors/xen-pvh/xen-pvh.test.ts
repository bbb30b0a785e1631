import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeStoreClient } from '../../../tests/fake-store-client.ts';
import { createRandom } from '../../conformance/random.ts';
import type { Disk } from '../../host/disk.ts';
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, EPERM, ESRCH } from '../xen/constants.ts';
import { ARGUMENTS, boot, DATA, INFO, MEMORY, SHARED } from './fake-guest.ts';

const IF = 0x200n;

test('the leaves say Xen 4.17, with an upcall vector for each processor', async () => {
  const { cpuid } = await boot();
  const { eax, ebx, ecx, edx } = cpuid(0x40000000);
  const name = [ebx, ecx, edx].flatMap(word => [0, 8, 16, 24].map(shift => (word >>> shift) & 0xff));
  assert.equal(String.fromCharCode(...name), 'XenVMMXenVMM');
  assert.equal(eax, 0x40000005);
  assert.equal(cpuid(0x40000001).eax, 0x00040011);
  assert.deepEqual(cpuid(0x40000002), { eax: 1, ebx: 0x40000000, ecx: 0, edx: 0 });
  assert.equal(cpuid(0x40000003).ecx, 2_500_000);
  assert.deepEqual(cpuid(0x40000004), { eax: 0x58, ebx: 0, ecx: 1, edx: 0 });
  assert.equal(cpuid(1).ecx >>> 31, 1);
  assert.equal(cpuid(0x80000007).edx & 0x100, 0);
});

test('the start: 32-bit, EBX at a start_info with a map that ends below the reserved pages', async () => {
  const { entry, memory, call, put } = await boot();
  const info = Number(entry.registers.rbx);
  assert.equal(memory.read32(info), 0x336ec578);
  const rsdp = Number(memory.read64(info + 32));
  assert.equal(String.fromCharCode(...memory.copyOut(rsdp, 8)), 'RSD PTR ');
  assert.equal(call(12, 9, put({ 0: [4, 10], 8: [8, DATA] })), 0);
  const count = memory.read32(ARGUMENTS);
  const ranges = Array.from({ length: count }, (_, index) => ({
    address: Number(memory.read64(DATA + index * 20)),
    size: Number(memory.read64(DATA + index * 20 + 8)),
    type: memory.read32(DATA + index * 20 + 16),
  }));
  assert.equal(ranges[0]!.type, 1);
  assert.equal(ranges[0]!.address + ranges[0]!.size, MEMORY - (1 << 20));
  for (const [index, range] of ranges.slice(1).entries())
    assert.equal(range.address, ranges[index]!.address + ranges[index]!.size, 'no gaps');
  assert.equal(ranges.at(-1)!.address + ranges.at(-1)!.size, MEMORY);
  assert.ok(ranges.some(({ type, address, size }) => type === 3 && rsdp >= address && rsdp < address + size));
});

test('a guest may change its memory map for the kernel it boots', async () => {
  const { call, put, memory } = await boot();
  memory.write64(DATA, 0x1000n);
  memory.write64(DATA + 8, 0x5000n);
  memory.write32(DATA + 16, 2);
  const set = (domid: number, count: number) => call(12, 13, put({ 0: [2, domid], 8: [4, count], 16: [8, DATA] }));
  assert.equal(set(0x7ff0, 1), 0);
  assert.equal(set(0, 1), -EPERM);
  assert.equal(set(0x7ff0, 129), -EINVAL);
  assert.equal(call(12, 9, put({ 0: [4, 10], 8: [8, DATA + 64] })), 0);
  assert.equal(memory.read32(ARGUMENTS), 1);
  assert.deepEqual(memory.copyOut(DATA + 64, 20), memory.copyOut(DATA, 20));
});

test('hypercalls are for kernels, and unknown ones say so once', async () => {
  const { call, cpu, context } = await boot();
  assert.equal(call(17, 0), 0x40011);
  cpu.cpl = 3;
  assert.equal(call(17, 0), -EPERM);
  cpu.cpl = 0;
  for (const number of [6, 63, 0xffff]) assert.equal(call(number), -ENOSYS);
  assert.equal(call(6), -ENOSYS);
  assert.equal(context.log.lines.length, 3);
});

test('a 32-bit guest passes its arguments in other registers and smaller structures', async () => {
  const { cpu, memory, table, op } = await boot();
  cpu.mode = 32;
  memory.write16(ARGUMENTS, 0x7ff0);
  memory.write32(ARGUMENTS + 4, 0); // space
  memory.write32(ARGUMENTS + 8, 0); // idx
  memory.write32(ARGUMENTS + 12, SHARED >>> 12);
  for (const [register, value] of [
    ['rax', 12n],
    ['rbx', 7n],
    ['rcx', BigInt(ARGUMENTS)],
  ] as const)
    cpu.set(register, value | (0xdeadn << 32n));
  cpu.set('rax', 12n);
  op(table.cpu.hypercall)(cpu);
  assert.equal(cpu.get('rax'), 0n);
  assert.notEqual(memory.read32(SHARED + 0x20 + 24), 0, 'the time record has come along');
  assert.ok(table.cpu.msrs[0x40000000].write!(cpu, BigInt(DATA)));
  assert.equal(memory.read32(SHARED + 0x904), 1_700_000_000, 'the wall clock where a 32-bit guest looks for it');
  assert.deepEqual([...memory.copyOut(DATA + 32 * 12, 9)], [0xb8, 12, 0, 0, 0, 0x0f, 0x01, 0xc1, 0xc3]);
  for (const bad of [1n, BigInt(MEMORY), 1n << 60n]) assert.equal(table.cpu.msrs[0x40000000].write!(cpu, bad), false);
});

test('shared_info moves to where the guest wants it, with what it holds', async () => {
  const { addToPhysmap, memory, bindVirq, call, put } = await boot();
  assert.equal(addToPhysmap(0, 0, SHARED), 0);
  const port = bindVirq(0);
  assert.equal(call(24, 8, 0, put({ 0: [8, 0] })), 0, 'a timer in the past fires at once');
  assert.equal(memory.read8(SHARED + 0x800 + (port >> 3)), 1 << (port & 7));
  assert.equal(addToPhysmap(0, 0, DATA), 0);
  assert.equal(memory.read8(DATA + 0x800), 1 << port);
  assert.equal(addToPhysmap(0, 1, DATA), -EINVAL);
  assert.equal(addToPhysmap(0, 0, MEMORY - 4096), -EINVAL, 'not over the hypervisor’s own pages');
  assert.equal(addToPhysmap(9, 0, DATA), -EINVAL);
  assert.equal(call(12, 7, MEMORY), -EFAULT);
});

test('grant frames outside RAM appear on the bus, and a device’s place is refused', async () => {
  const { addToPhysmap, context, call, put, memory, cpu } = await boot();
  const hole = 0x10000000;
  assert.equal(addToPhysmap(1, 0, hole), 0);
  assert.equal(addToPhysmap(1, 1, hole + 4096), 0);
  assert.equal(addToPhysmap(1, 64, hole + 8192), -EINVAL);
  assert.equal(context.mmio.read(hole + 4, 4, cpu) * 4096, parameterAddress(memory, context.mmio.read(hole, 2, cpu)));
  context.mmio.write(hole + 4096 + 8, 4, 0x12345678, cpu);
  assert.equal(context.mmio.read(hole + 4096 + 8, 2, cpu), 0x5678);
  context.mmio.map('device', 0x20000000, 4096, { read: () => 0, write: () => {} });
  assert.equal(addToPhysmap(1, 2, 0x20000000), -EINVAL);
  assert.equal(call(20, 6, put({ 0: [2, 0x7ff0] }), 1), 0);
  assert.deepEqual([memory.read32(ARGUMENTS + 4), memory.read32(ARGUMENTS + 8)], [3, 64]);
  assert.equal(call(12, 15, put({ 0: [2, 0x7ff0], 8: [8, hole >>> 12] })), 0);
  assert.equal(context.mmio.find(hole), undefined);
});

/** The console's frame, which entry 0 of the grant table gives to domain 0. */
function parameterAddress(memory: { size: number }, flags: number): number {
  assert.equal(flags, 1, 'permit_access');
  return MEMORY - (1 << 20) + 2 * 4096 + (memory.size - MEMORY);
}

test('events come through the local APIC once a vector is set, also what was pending before', async () => {
  const { addToPhysmap, call, put, cpu, memory, bindVirq } = await boot();
  addToPhysmap(0, 0, SHARED);
  assert.equal(call(24, 10, 0, put({ 0: [8, INFO >>> 12], 8: [4, 64] })), 0);
  assert.equal(call(24, 10, 0, put({ 0: [8, INFO >>> 12], 8: [4, 64] })), -EINVAL, 'once');
  assert.equal(memory.read8(INFO + 64), 1);
  assert.equal(memory.read64(INFO + 64 + 8), 2n ** 64n - 1n);
  assert.equal(call(34, 23, put({ 0: [4, 0], 4: [1, 0xf3] })), 0);
  assert.deepEqual([...cpu.interrupts!.requested], [0xf3]);
  assert.equal(call(34, 23, put({ 0: [4, 1], 4: [1, 0xf3] })), -ENOENT);
  assert.equal(call(34, 23, put({ 0: [4, 0], 4: [1, 15] })), -EINVAL);

  cpu.interrupts!.requested.clear();
  memory.write8(INFO + 64, 0);
  memory.write64(INFO + 64 + 8, 0n);
  const port = bindVirq(0);
  assert.equal(call(24, 8, 0, put({ 0: [8, 5000] })), 0);
  cpu.clock.advance(4999);
  assert.equal(cpu.interrupts!.requested.size, 0);
  cpu.clock.advance(1);
  assert.deepEqual([...cpu.interrupts!.requested], [0xf3]);
  assert.equal(memory.read8(SHARED + 0x800), 1 << port);
  memory.write8(SHARED + 0x800, 0);
  assert.equal(call(24, 8, 0, put({ 0: [8, 1], 8: [4, 1] })), 0, 'VCPU_SSHOTTMR_future is ignored');
  assert.equal(memory.read8(SHARED + 0x800), 1 << port);
});

test('the older callback vector is delivered past the local APIC, while interrupts are open', async () => {
  const { call, put, cpu, table, op, bindVirq, addToPhysmap, memory } = await boot();
  addToPhysmap(0, 0, SHARED);
  assert.equal(call(34, 0, put({ 0: [2, 0x7ff0], 4: [4, 0], 8: [8, (2n << 56n) | 0xf3n] })), 0);
  bindVirq(0);
  const { deliver, pending } = table.irq;
  assert.equal(op(pending)(cpu), false);
  cpu.clock.advance(10);
  call(15, 1);
  assert.equal(op(pending)(cpu), true, 'it waits for IF');
  assert.equal(op(deliver)(cpu), false, 'which is clear');
  cpu.set('flags', IF);
  assert.equal(op(pending)(cpu), true);
  cpu.interrupts!.request(0x40);
  assert.equal(op(deliver)(cpu), true);
  memory.write8(SHARED, 0);
  assert.equal(op(deliver)(cpu), true);
  assert.deepEqual(cpu.delivered, [0xf3, 0x40], 'the local APIC’s own still come');
  assert.equal(op(deliver)(cpu), false);
});

test('parameters: what leads to the rings is there, the toolstack’s are its own', async () => {
  const { parameter, call, put } = await boot();
  assert.deepEqual([parameter(2), parameter(18)], [1, 2]);
  assert.equal(parameter(1) * 4096 < MEMORY, true);
  const get = (index: number, domid = 0x7ff0) => call(34, 1, put({ 0: [2, domid], 4: [4, index] }));
  assert.equal(parameter(0), 0);
  for (const index of [5, 7, 9, 12, 38]) assert.equal(get(index), -EPERM, `parameter ${index} is the toolstack’s`);
  for (const index of [4, 13, 20, 30]) assert.equal(get(index), -EINVAL, `parameter ${index} is no more`);
  assert.equal(get(1, 0), -EINVAL, 'domain 0 has no such parameters');
  assert.equal(get(1, 5), -ESRCH);
  assert.equal(get(99, 5), -EINVAL, 'the number comes first');
  assert.equal(call(34, 1, put({ 0: [2, 0x7ff0], 4: [4, 39] })), -EINVAL);
  assert.equal(call(34, 0, put({ 0: [2, 0x7ff0], 4: [4, 17], 8: [8, 5] })), -EPERM);
});

test('the console, both ways, and console_io', async () => {
  const { parameter, call, put, memory, context } = await boot();
  const ring = parameter(17) * 4096;
  const port = parameter(18);
  const text = new TextEncoder().encode('hello\n');
  memory.copyIn(ring + 0x400, text);
  memory.write32(ring + 0xc0c, text.length);
  assert.equal(call(32, 4, put({ 0: [4, port] })), 0);
  assert.equal(memory.read32(ring + 0xc08), text.length);
  memory.copyIn(DATA, text);
  assert.equal(call(18, 0, text.length, DATA), 0);
  assert.equal(new TextDecoder().decode(Uint8Array.from(context.written)), 'hello\nhello\n');
  context.type(new Uint8Array(3000).fill(0x61));
  assert.equal(memory.read32(ring + 0xc04), 1024, 'as much as there is room for');
  memory.write32(ring + 0xc00, 1000);
  call(32, 4, put({ 0: [4, port] }));
  assert.equal(memory.read32(ring + 0xc04), 2024);
  memory.write32(ring + 0xc0c, 0x7fffffff);
  memory.write32(ring + 0xc00, 0x12345);
  call(32, 4, put({ 0: [4, port] }));
  assert.equal(call(18, 0, 10, MEMORY - 5), -EFAULT);
});

test('the store has what libxl puts there, and a disk', async () => {
  const disk: Disk = {
    name: 'disk',
    size: 1 << 20,
    readOnly: false,
    read() {},
    write() {},
    flush() {},
    discard() {},
    close() {},
  };
  const { parameter, call, put, memory } = await boot([disk]);
  const client = new FakeStoreClient(memory, parameter(1) * 4096);
  const port = parameter(2);
  client.onEvent = () => assert.equal(call(32, 4, put({ 0: [4, port] })), 0);
  const ask = (type: number, payload: string) => {
    client.send(type, payload);
    return client.receive()[0]?.payload;
  };
  assert.equal(ask(1, 'device\0'), 'suspend\0vbd\0');
  assert.equal(ask(2, 'device/vbd/51712/state\0'), '1');
  assert.equal(ask(2, '/local/domain/0/backend/vbd/1/51712/state\0'), '2');
  assert.equal(ask(2, 'domid\0'), '1');
  assert.equal(ask(2, 'cpu/0/availability\0'), 'online');
  assert.equal(ask(2, 'memory/target\0'), String((MEMORY - (1 << 20)) / 1024));
  assert.equal(ask(1, 'backend\0'), 'ENOENT\0');
  assert.equal(ask(11, 'control/feature-poweroff\x001'), 'OK\0');
  assert.equal(ask(11, 'name\0mine'), 'EACCES\0');
});

test('waiting: block, poll, and what ends them', async () => {
  const { call, put, cpu, bindVirq, memory, addToPhysmap } = await boot();
  addToPhysmap(0, 0, SHARED);
  const port = bindVirq(0);
  call(15, 1000);
  const halts = () => cpu.events.filter(event => event === 'halt').length;
  assert.equal(call(29, 1), 0);
  assert.equal(halts(), 1);
  cpu.clock.advance(1000);
  assert.ok(cpu.events.includes('wake'));
  assert.equal(call(29, 1), 0);
  assert.equal(halts(), 1, 'an event is pending: no halt');

  memory.write8(SHARED, 0);
  memory.fill(SHARED + 0x800, 512);
  memory.write64(SHARED + 8, 0n);
  memory.write8(SHARED + 0xa00, 1 << port);
  memory.write32(DATA, port);
  const poll = (ports: number, count: number, timeout: number) =>
    call(29, 3, put({ 0: [8, ports], 8: [4, count], 16: [8, timeout] }));
  assert.equal(poll(DATA, 129, 0), -EINVAL);
  assert.equal(poll(MEMORY, 1, 0), -EFAULT);
  assert.equal(poll(DATA, 1, 1), 0, 'a time-out in the past');
  assert.equal(halts(), 1);
  assert.equal(poll(DATA, 1, 9000), 0);
  assert.equal(halts(), 2);
  cpu.events.length = 0;
  call(15, 1);
  assert.ok(cpu.events.includes('wake'), 'a masked port ends a poll');
  cpu.events.length = 0;
  cpu.clock.advance(20000);
  assert.ok(!cpu.events.includes('wake'), 'and its time-out is gone');
});

test('the end: power-off, reboot, crash', async () => {
  for (const [reason, request] of [
    [0, 'power-off'],
    [1, 'reset'],
    [3, 'crash'],
  ] as const) {
    const { call, put, cpu } = await boot();
    assert.equal(call(29, 2, put({ 0: [4, reason] })), 0);
    assert.deepEqual(cpu.requests, [request]);
    assert.equal(call(29, 2, put({ 0: [4, 99] })), -EINVAL);
  }
});

test('HLT waits with interrupts open; with them closed it is the end', async () => {
  const { cpu, table, op } = await boot();
  cpu.set('flags', IF);
  op(table.irq.halt)(cpu);
  assert.deepEqual(cpu.events, ['halt']);
  assert.deepEqual(cpu.requests, []);
  cpu.set('flags', 0n);
  op(table.irq.halt)(cpu);
  assert.deepEqual(cpu.requests, ['power-off']);
});

test('the balloon gives memory back, gets it again empty, and takes no frame twice', async () => {
  const { call, put, memory } = await boot();
  const reservation = (frame: number) => {
    memory.write64(DATA, BigInt(frame));
    return put({ 0: [8, DATA], 8: [8, 1], 24: [2, 0x7ff0] });
  };
  const pages = (MEMORY - (1 << 20)) / 4096;
  const current = () => call(12, 3, put({ 0: [2, 0x7ff0] }));
  assert.equal(current(), pages);
  memory.fill(0x200000, 4096, 7);
  assert.equal(call(12, 1, reservation(0x200)), 1);
  assert.equal(call(12, 1, reservation(0x200)), 0);
  assert.equal(current(), pages - 1);
  assert.equal(call(12, 6, reservation(0x200)), 1);
  assert.equal(memory.read8(0x200000), 0);
  assert.equal(call(12, 6, reservation(0x200)), 0);
  assert.equal(call(12, 1, reservation(pages)), 0, 'the hypervisor’s own');
  assert.equal(call(12, 1, put({ 0: [8, DATA], 8: [8, 2n ** 62n], 24: [2, 0x7ff0] })), 0);
});

test('multicall: results in place, failures do not stop it, none within another', async () => {
  const { call, memory } = await boot();
  const entries = [
    [17, 0],
    [99, 0],
    [13, 0],
    [17, 0],
  ];
  for (const [index, [op, argument]] of entries.entries()) {
    memory.fill(DATA + index * 64, 64);
    memory.write64(DATA + index * 64, BigInt(op!));
    memory.write64(DATA + index * 64 + 16, BigInt(argument!));
  }
  assert.equal(call(13, DATA, 4), 0);
  const results = entries.map((_, index) => Number(BigInt.asIntN(64, memory.read64(DATA + index * 64 + 8))));
  assert.deepEqual(results, [0x40011, -ENOSYS, -EINVAL, 0x40011]);
  assert.equal(call(13, MEMORY - 64, 4), -EFAULT);
});

test('multicall entries of a 32-bit guest are half as long', async () => {
  const { cpu, memory, table, op } = await boot();
  cpu.mode = 32;
  memory.fill(DATA, 96);
  memory.write32(DATA, 17);
  memory.write32(DATA + 32, 12); // memory_op(XENMEM_maximum_ram_page)
  memory.write32(DATA + 40, 2);
  memory.write32(DATA + 64, 99);
  for (const [register, value] of [
    ['rax', 13n],
    ['rbx', BigInt(DATA)],
    ['rcx', 3n | (0xdeadn << 32n)],
  ] as const)
    cpu.set(register, value);
  op(table.cpu.hypercall)(cpu);
  assert.equal(cpu.get('rax'), 0n);
  assert.deepEqual(
    [0, 1, 2].map(index => memory.read32(DATA + 32 * index + 4) | 0),
    [0x40011, MEMORY >>> 12, -ENOSYS],
  );
  assert.equal(memory.read32(DATA + 8), 0, 'the argument behind the result is as it was');
});

test('what is not finished in a multicall goes on there', async () => {
  const { cpu, table, op, memory } = await boot();
  // 1500 extents of XENMEM_decrease_reservation, the balloon: more than one go.
  const list = DATA + 0x1000;
  memory.fill(DATA, 128);
  memory.fill(ARGUMENTS, 32);
  for (let index = 0; index < 1500; index++) memory.write64(list + 8 * index, BigInt(0x200 + index));
  memory.write64(ARGUMENTS, BigInt(list));
  memory.write64(ARGUMENTS + 8, 1500n);
  memory.write16(ARGUMENTS + 24, 0x7ff0);
  memory.write64(DATA, 12n);
  memory.write64(DATA + 16, 1n);
  memory.write64(DATA + 24, BigInt(ARGUMENTS));
  memory.write64(DATA + 64, 17n);
  cpu.set('rip', 0x1003n);
  cpu.set('rax', 13n);
  cpu.set('rdi', BigInt(DATA));
  cpu.set('rsi', 2n);
  op(table.cpu.hypercall)(cpu);
  assert.equal(cpu.get('rip'), 0x1000n, 'the multicall is repeated');
  assert.equal(cpu.get('rsi'), 2n);
  assert.equal(memory.read64(DATA + 16), 1n + (1024n << 6n), 'the entry says how far it came');
  assert.equal(memory.read64(DATA + 72), 0n);
  cpu.set('rip', 0x1003n);
  op(table.cpu.hypercall)(cpu);
  assert.equal(cpu.get('rax'), 0n);
  assert.equal(memory.read64(DATA + 8), 1500n);
  assert.equal(memory.read64(DATA + 72), 0x40011n);
});

test('a long multicall lets the machine breathe and goes on where it was', async () => {
  const { cpu, table, op, memory } = await boot();
  for (let index = 0; index < 300; index++) {
    memory.fill(DATA + index * 64, 64);
    memory.write64(DATA + index * 64, 17n);
  }
  cpu.set('rip', 0x1003n);
  cpu.set('rax', 13n);
  cpu.set('rdi', BigInt(DATA));
  cpu.set('rsi', 300n);
  op(table.cpu.hypercall)(cpu);
  assert.equal(cpu.get('rip'), 0x1000n, 'the instruction is repeated');
  assert.equal(cpu.get('rsi'), 44n);
  cpu.set('rip', 0x1003n);
  op(table.cpu.hypercall)(cpu);
  assert.equal(cpu.get('rax'), 0n);
  assert.equal(memory.read64(DATA + 299 * 64 + 8), 0x40011n);
});

test('runstates and the time area', async () => {
  const { call, put, cpu, memory } = await boot();
  cpu.clock.advance(500);
  assert.equal(call(24, 5, 0, put({ 0: [8, DATA] })), 0);
  assert.equal(memory.read32(DATA), 0);
  assert.equal(memory.read64(DATA + 16), 500n);
  call(15, 1500);
  call(29, 1);
  assert.equal(memory.read32(DATA), 2);
  assert.equal(call(24, 5, 0, put({ 0: [8, 2n ** 63n] })), -EFAULT);
  assert.equal(call(24, 13, 0, put({ 0: [8, DATA + 512] })), 0);
  assert.notEqual(memory.read32(DATA + 512 + 24), 0);
  assert.equal(call(24, 3, 0), 1);
  assert.equal(call(24, 3, 1), -ENOENT);
  assert.equal(call(24, 0, 0), -EEXIST);
});

test('what the host took was spent runnable, as soon as so much time has passed', async () => {
  const { call, put, cpu, memory, table, op } = await boot();
  const spent = () => [16, 24, 32].map(at => Number(memory.read64(DATA + at)));
  cpu.clock.advance(1000);
  assert.equal(call(24, 5, 0, put({ 0: [8, DATA] })), 0);
  assert.deepEqual(spent(), [1000, 0, 0], 'running, runnable, blocked');
  op(table.time.resumed)(cpu, 5000);
  assert.deepEqual(spent(), [0, 1000, 0], 'no more than has passed');
  cpu.clock.advance(10_000);
  op(table.time.resumed)(cpu, 100);
  assert.deepEqual(spent(), [5900, 5100, 0]);
  cpu.clock.advance(50);
  call(15, 20_000);
  call(29, 1);
  cpu.clock.advance(1000);
  assert.deepEqual([...spent(), memory.read32(DATA)], [5950, 5100, 0, 2]);
});

test('hostile hypercalls: an error or nothing, whatever the arguments', async () => {
  const { cpu, call, context, memory } = await boot();
  const random = createRandom(1n);
  const pointers = [0, DATA, DATA + 4090, MEMORY - 4, MEMORY, 2n ** 47n, 2n ** 64n - 1n, 0xffff800000000000n];
  const numbers = [0, 1, 2, 7, 64, 512, 0x7ff0, 0x7ff1, 0xffff, 2 ** 31, 2 ** 32 - 1, 2n ** 63n];
  for (let round = 0; round < 5_000; round++) {
    for (let offset = 0; offset < 64; offset += 8)
      memory.write64(
        DATA + offset,
        BigInt.asUintN(64, BigInt(random.of<number | bigint>(random.below(2) ? numbers : pointers))),
      );
    const number = random.of([12, 13, 15, 17, 18, 20, 21, 24, 29, 32, 34, 33, 99]);
    const command = random.below(36);
    if (number === 29 && command === 2) continue;
    call(
      number,
      command,
      random.of<number | bigint>(pointers),
      random.of<number | bigint>(random.below(2) ? numbers : pointers),
      random.of<number | bigint>(numbers),
    );
  }
  assert.deepEqual(cpu.kills, []);
  assert.ok(context.log.lines.length < 200);
});
