/** What a guest reads of Hyper-V, its reference time, its local APIC's registers, and how it ends. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fakeGuest, HYPERCALL_PAGE, MSR } from './fake-guest.ts';

describe('identity', () => {
  test('the leaves announce what is here, and nothing else', () => {
    const { cpu, table, op } = fakeGuest();
    const cpuid = (leaf: number) => op(table.cpu.cpuid)(cpu, leaf, 0, () => ({ eax: 1, ebx: 2, ecx: 3, edx: 0x1ff }))!;
    const { eax, ebx, ecx, edx } = cpuid(0x40000000);
    assert.equal(new TextDecoder().decode(Uint32Array.of(ebx, ecx, edx)), 'Microsoft Hv');
    assert.equal(eax, 0x4000000a);
    assert.equal(cpuid(0x40000001).eax, 0x31237648, 'Hv#1');
    assert.deepEqual(cpuid(0x40000003), { eax: 0xefe, ebx: 0x30, ecx: 0, edx: 0x80500 });
    assert.deepEqual(cpuid(0x40000004), { eax: 0xe3c, ebx: 0xffffffff, ecx: 0, edx: 0 });
    assert.deepEqual(cpuid(0x40000005), { eax: 1, ebx: 1, ecx: 0, edx: 0 });
    for (const leaf of [0x40000006, 0x40000008, 0x4000000a])
      assert.deepEqual(cpuid(leaf), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    assert.equal(cpuid(0x4000000b), undefined);
    assert.equal(cpuid(1).ecx, 0x80000003);
    assert.equal(cpuid(0x80000007).edx, 0xff, 'an invariant TSC would be preferred to the reference page');
  });

  test('registers of features that are not announced are not there', () => {
    const { table } = fakeGuest();
    const numbers = new Set(Object.keys(table.cpu.msrs).map(Number));
    // VP_RUNTIME, REENLIGHTENMENT_CONTROL, TSC_EMULATION_CONTROL and _STATUS, TSC_INVARIANT_CONTROL
    for (const absent of [0x40000010, 0x40000106, 0x40000107, 0x40000108, 0x40000118])
      assert.ok(!numbers.has(absent), absent.toString(16));
    assert.ok([...Object.values(MSR)].every(number => numbers.has(number)));
  });

  test('the hypercall page needs an identity, RAM, and can be locked', () => {
    const { memory, read, write, call } = fakeGuest();
    assert.ok(write(MSR.HYPERCALL, HYPERCALL_PAGE | 1), 'no fault, but no effect');
    assert.equal(read(MSR.HYPERCALL), 0n);
    assert.ok(write(MSR.GUEST_OS_ID, 1));
    assert.ok(!write(MSR.HYPERCALL, memory.size | 1));
    assert.ok(!write(MSR.HYPERCALL, 2n ** 64n - 1n));
    assert.ok(write(MSR.HYPERCALL, HYPERCALL_PAGE | 1));
    assert.deepEqual([...memory.copyOut(HYPERCALL_PAGE, 4)], [0x0f, 0x01, 0xd9, 0xc3], 'VMMCALL, RET');
    assert.equal(call(8), 0);
    assert.ok(write(MSR.GUEST_OS_ID, 0));
    assert.equal(read(MSR.HYPERCALL), BigInt(HYPERCALL_PAGE), 'who is nobody has no hypercalls');
    assert.ok(write(MSR.GUEST_OS_ID, 1));
    assert.ok(write(MSR.HYPERCALL, HYPERCALL_PAGE | 3));
    assert.ok(!write(MSR.HYPERCALL, 0), 'locked');
    assert.equal(read(MSR.HYPERCALL), BigInt(HYPERCALL_PAGE | 3));
  });

  test('reset by register', () => {
    const { cpu, write } = fakeGuest();
    assert.ok(write(MSR.RESET, 0));
    assert.deepEqual(cpu.requests, []);
    assert.ok(write(MSR.RESET, 1));
    assert.deepEqual(cpu.requests, ['reset']);
  });
});

describe('reference time', () => {
  test('register and page agree, in 100 ns from the start', () => {
    const { cpu, memory, read, write } = fakeGuest();
    cpu.clock.advance(12_345);
    assert.ok(write(MSR.REFERENCE_TSC, 0x3001));
    const page = () => ((cpu.tsc.read() * memory.read64(0x3008)) >> 64n) + BigInt.asIntN(64, memory.read64(0x3010));
    assert.equal(memory.read32(0x3000), 1, 'valid');
    for (const step of [0, 99, 100, 55, 1e9, 86_400e9]) {
      cpu.clock.advance(step);
      const time = BigInt(Math.floor(cpu.clock.now() / 100));
      assert.equal(read(MSR.TIME_REF_COUNT), time);
      assert.ok(page() - time >= -1n && page() - time <= 1n, `${page()} and ${time}`);
    }
  });

  test('whole units of a TSC that ticks once a nanosecond are not one too small', () => {
    const { memory, write, table } = fakeGuest();
    const cpu = { id: 0, tsc: { frequency: 1e9, read: () => 0n, at: () => 0n } } as unknown as Parameters<
      NonNullable<(typeof table.cpu.msrs)[number]['write']>
    >[0];
    assert.ok(table.cpu.msrs[MSR.REFERENCE_TSC].write!(cpu, 0x3001n));
    assert.equal((100n * memory.read64(0x3008)) >> 64n, 1n);
    assert.ok(write(MSR.REFERENCE_TSC, 0), 'disabled');
    assert.ok(!write(MSR.REFERENCE_TSC, memory.size | 1));
  });

  test('frequencies in Hz', () => {
    const { read } = fakeGuest();
    assert.equal(read(MSR.TSC_FREQUENCY), 2_500_000_000n);
    assert.equal(read(MSR.APIC_FREQUENCY), 1_000_000_000n);
  });
});

describe('the local APIC', () => {
  test('end of interrupt, task priority, command', () => {
    const { cpu, read, write } = fakeGuest();
    const interrupts = cpu.interrupts!;
    interrupts.request(0x40);
    interrupts.acknowledge();
    assert.ok(!write(MSR.EOI, 2n ** 32n));
    assert.deepEqual(interrupts.inService, [0x40]);
    assert.ok(write(MSR.EOI, 0));
    assert.deepEqual(interrupts.inService, []);
    assert.ok(write(MSR.TPR, 0x25));
    assert.equal(interrupts.taskPriority, 0x25);
    assert.equal(read(MSR.TPR), 0x25n);
    assert.ok(!write(MSR.TPR, 0x100));
    assert.ok(write(MSR.ICR, 0x0100_0000_0004_0051n));
    assert.equal(read(MSR.ICR), 0x0100_0000_0004_0051n);
    assert.ok(interrupts.requested.has(0x51));
  });

  test('an end that is a word in the assist page, where nothing waits for it', () => {
    const { cpu, memory, table, op, write } = fakeGuest();
    const interrupts = cpu.interrupts!;
    memory.fill(0x4000, 4096, 0xaa);
    assert.ok(write(MSR.VP_ASSIST_PAGE, 0x4001));
    assert.equal(memory.read32(0x4000), 0);
    assert.equal(memory.read8(0x4004), 0xaa, "the rest of the page is the guest's");
    const deliver = (vector: number) => {
      interrupts.request(vector);
      op(table.irq.delivered)(cpu, interrupts.acknowledge());
    };
    deliver(0xed);
    assert.equal(memory.read32(0x4000), 1);
    op(table.irq.catchUp)(cpu);
    assert.equal(memory.read32(0x4000), 1, 'the offer stands while the handler runs and nothing else comes');
    memory.write32(0x4000, 0);
    op(table.irq.catchUp)(cpu);
    assert.deepEqual(interrupts.inService, []);

    deliver(0xed);
    interrupts.request(0x40);
    op(table.irq.catchUp)(cpu);
    assert.equal(memory.read32(0x4000), 0, 'the offer is taken back');
    assert.deepEqual(interrupts.inService, [0xed]);
    assert.ok(write(MSR.EOI, 0));

    deliver(0xed);
    assert.ok(write(MSR.VP_ASSIST_PAGE, 0), 'taken away in the middle');
    assert.ok(write(MSR.EOI, 0));
    assert.deepEqual(interrupts.inService, []);
    assert.ok(!write(MSR.VP_ASSIST_PAGE, memory.size | 1));
  });
});

describe('crash registers', () => {
  test('five numbers end the run', () => {
    const { cpu, read, write } = fakeGuest();
    assert.equal(read(MSR.CRASH_CTL), 3n << 62n);
    for (let index = 0; index < 5; index++) assert.ok(write(MSR.CRASH_P0 + index, 0xa0 + index));
    assert.equal(read(MSR.CRASH_P0 + 4), 0xa4n);
    assert.ok(write(MSR.CRASH_CTL, 1n << 62n));
    assert.deepEqual(cpu.requests, [], 'nothing has happened yet');
    assert.ok(write(MSR.CRASH_CTL, 1n << 63n));
    assert.deepEqual(cpu.requests, ['crash: (crash registers: P0 0xa0, P1 0xa1, P2 0xa2, P3 0xa3, P4 0xa4)']);
  });

  const endOf = (text: Uint8Array, address = 0x9000, length = text.length) => {
    const { cpu, memory, write } = fakeGuest();
    memory.copyIn(0x9000, text);
    write(MSR.CRASH_P0 + 3, address);
    write(MSR.CRASH_P0 + 4, length);
    write(MSR.CRASH_CTL, 3n << 62n);
    return cpu.requests[0];
  };
  const bytes = (text: string) => new TextEncoder().encode(text);

  test('a message is told by what it comes down to', () => {
    const linux =
      '[  3.1] Kernel panic - not syncing: Attempted to kill init!\n[  3.2] Call Trace:\n[  3.3]  panic+0x118\n';
    assert.match(endOf(bytes(linux)), /^crash: Attempted to kill init! \(crash registers: P0 0x0,/);
    assert.match(endOf(bytes('panic: page fault\ncpuid = 0\n')), /^crash: page fault \(/);
    assert.match(endOf(bytes('one\ntwo\n\n')), /^crash: two \(/);
  });

  test('a hostile message neither reaches the terminal nor reads outside RAM', () => {
    assert.match(endOf(bytes('\x1b]0;gotcha\x07 panic: \x9b31m\x1b[2Jx')), /^crash: 31m\[2Jx \(/);
    assert.match(endOf(bytes('a'.repeat(100_000)), 0x9000, 100_000), /^crash: a{200} \(/);
    assert.match(endOf(bytes('x'), 0x9000, 0), /^crash: \(/);
    for (const [address, length] of [
      [2 ** 20 - 1, 2],
      [2 ** 20, 1],
      [2 ** 53, 2 ** 53],
    ])
      assert.match(endOf(bytes('x'), address, length), /^crash: \(crash registers/);
  });
});
