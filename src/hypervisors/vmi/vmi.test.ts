import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { vmcall } from '../../conformance/calls.ts';
import { FakeProcessor, fakeContext } from '../../conformance/fake-processor.ts';
import { createRandom } from '../../conformance/random.ts';
import { LVT_MASKED, LVT_TIMER } from '../../devices/apic-registers.ts';
import { LOCAL_APIC_BASE } from '../../devices/local-apic.ts';
import { parseApState } from './ap-state.ts';
import { type CallName, VMI_CALLS } from './calls.ts';
import { callByNumber, callRom } from './guest-half.ts';
import { vmi } from './index.ts';
import { buildRom } from './rom.ts';
import { QUEUE_CAPACITY, ROM_ADDRESS, ROM_SIZE, SHARED, UPDATE } from './shared-page.ts';

const SHARED_PAGE = ROM_ADDRESS + ROM_SIZE;
const LOW_MEMORY = 0xc0000000;
const GDT = 0x6000;
const ONESHOT = 0;
const PERIODIC = 0x100;
const LVTT = 0x10000;

function setUp(tscFrequency = 1_000_000_000) {
  const cpu = new FakeProcessor({ memory: 4 << 20, tscFrequency });
  const context = fakeContext(cpu);
  const table = vmi.make(context);
  const fixture = { table, cpu };
  const call = (name: CallName, ...values: (number | bigint)[]) => callRom(fixture, name, ...values);
  const { pageFault } = table.mmu;
  const fault = () =>
    typeof pageFault === 'function' ? pageFault(cpu, { vector: 14, code: 0, address: 0n }) : assert.fail('native');
  /** What SetPxELong's code in the ROM does in lazy mode. */
  const defer = (offset: number, value: bigint, size = 8) => {
    const count = cpu.memory.read32(SHARED_PAGE + SHARED.count);
    const at = SHARED_PAGE + SHARED.queue + 16 * count;
    cpu.memory.write32(at + UPDATE.offset, offset);
    cpu.memory.write32(at + UPDATE.size, size);
    cpu.memory.write64(at + UPDATE.low, value);
    cpu.memory.write32(SHARED_PAGE + SHARED.count, count + 1);
  };
  const descriptor = (selector: number, attributes: number) => {
    cpu.memory.write32(GDT + (selector & ~7), 0x0000ffff);
    cpu.memory.write32(GDT + (selector & ~7) + 4, attributes | 0xcf0000);
  };
  cpu.set('gdtBase', BigInt(GDT));
  cpu.set('gdtLimit', 0xffn);
  return { cpu, memory: cpu.memory, context, table, call, fault, defer, descriptor };
}

test('the ROM is in its socket, and shows nothing else', () => {
  const { memory, table } = setUp();
  assert.deepEqual(memory.copyOut(ROM_ADDRESS, ROM_SIZE), buildRom().bytes);
  assert.deepEqual(Object.keys(table.cpu.msrs), []);
  assert.equal(typeof table.cpu.cpuid, 'symbol', 'no CPUID leaf');
});

test('VMCALL is undefined outside of the ROM, in user mode and in other modes', () => {
  for (const change of [
    (cpu: FakeProcessor) => cpu.set('rip', 0x100003n),
    (cpu: FakeProcessor) => void (cpu.cpl = 3),
    (cpu: FakeProcessor) => void (cpu.mode = 16),
    (cpu: FakeProcessor) => void (cpu.pages = new Map()),
  ]) {
    const { cpu, table, call } = setUp();
    call('GetCycleFrequency');
    cpu.set('rip', BigInt(ROM_ADDRESS + 0x110));
    change(cpu);
    const rip = cpu.get('rip');
    vmcall({ table, cpu });
    assert.deepEqual(cpu.raised, [{ vector: 6 }]);
    assert.equal(cpu.get('rip'), rip - 3n, 'at the instruction');
  }
});

describe('page tables', () => {
  test('an update is a store', () => {
    const { cpu, memory, call } = setUp();
    call('SetPxE', 0x1067, 0x3004, 1);
    assert.equal(memory.read32(0x3004), 0x1067);
    call('SetPxELong', 0x2067, 0x80000000, 0x3008, 1);
    assert.equal(memory.read64(0x3008), 0x8000000000002067n, 'with NX');
    call('SetPxELong', 0xfffffffe, 0x7fffffff, 0x3010, 1);
    assert.equal(memory.read64(0x3010), 0x7ffffffffffffffen, 'what is not present may be anything');
    assert.deepEqual(cpu.kills, []);
  });

  test('deferred updates are made by the end of the mode, by a page fault, and before others', () => {
    const { cpu, memory, call, fault, defer } = setUp();
    call('SetLinearMapping', 0, LOW_MEMORY, 0x38000, 0);
    assert.equal(memory.read32(SHARED_PAGE + SHARED.slotStart), LOW_MEMORY);
    assert.equal(memory.read32(SHARED_PAGE + SHARED.slotSize), memory.size, 'no more than there is RAM');
    assert.equal(fault(), false, 'nothing waits: a fault of the guest');
    defer(0x3000, 0x1067n);
    assert.equal(fault(), true);
    assert.equal(memory.read64(0x3000), 0x1067n);
    assert.equal(fault(), false);
    defer(0x3000, 0x2067n);
    defer(0x3000, 0x3067n);
    call('SetLazyMode', 0);
    assert.equal(memory.read64(0x3000), 0x3067n, 'in their order');
    defer(0x3000, 0x4067n);
    call('SetPxELong', 0x5067, 0, 0x3000, 1);
    assert.equal(memory.read64(0x3000), 0x5067n);
    defer(0x3000, 0x6067n, 4);
    callByNumber({ table: setUp().table, cpu }, 0x81n, []);
    assert.equal(memory.read64(0x3000), 0x5067n, "another machine's hypervisor makes none of ours");
    call('SetLazyMode', 2);
    assert.equal(memory.read32(0x3000), 0x6067);
    assert.deepEqual(cpu.kills, []);
  });

  test('a queue of nonsense ends the guest, and reaches nothing', () => {
    const nonsense: [offset: number, value: bigint, size: number][] = [
      [0xfffffff8, 1n, 8],
      [0x3004, 1n, 8],
      [0x3000, 1n, 3],
      [4 << 20, 1n, 8],
      [0x3000, (1n << 40n) | 1n, 8],
    ];
    for (const [offset, value, size] of nonsense) {
      const { cpu, memory, call, defer } = setUp();
      call('SetLinearMapping', 0, LOW_MEMORY, 0x38000, 0);
      defer(offset, value, size);
      const before = memory.copyOut(0, SHARED_PAGE);
      call('SetLazyMode', 0);
      assert.equal(cpu.kills.length, 1, `${offset} ${value} ${size}`);
      assert.match(cpu.kills[0]!, /^VMI call SetLazyMode: /);
      // But for the stack of the call.
      before.set(memory.copyOut(0x8000, 16), 0x8000);
      assert.deepEqual(memory.copyOut(0, SHARED_PAGE), before);
    }
    const { cpu, memory, call } = setUp();
    memory.write32(SHARED_PAGE + SHARED.count, 0xffffffff);
    call('SetLazyMode', 0);
    assert.equal(cpu.kills.length, 1, 'no mapping, no updates');
    assert.ok(QUEUE_CAPACITY > 100);
  });
});

describe('time', () => {
  /** With the local APIC's timer entry as a register that the test writes. */
  function withApic(tscFrequency?: number) {
    const machine = setUp(tscFrequency);
    const apic = { timer: LVT_MASKED };
    machine.context.mmio.map('local-apic', LOCAL_APIC_BASE, 0x1000, {
      read: offset => (offset === LVT_TIMER ? apic.timer : offset),
      write: (offset, _width, value) => {
        if (offset === LVT_TIMER) apic.timer = value;
      },
    });
    const alarm = (flags: number, expiry: bigint, period = 0n) =>
      machine.call('SetAlarm', flags, expiry, expiry >> 32n, period, period >> 32n);
    const edges = () => machine.cpu.events.filter(event => event === 'edge 0').length;
    return { ...machine, apic, alarm, edges };
  }

  test('cycles are those of the time-stamp counter, but not of its setting', () => {
    const { cpu, call } = withApic(2_500_000_000);
    assert.equal(call('GetCycleFrequency'), 2_500_000_000n);
    cpu.clock.advance(10_000);
    assert.equal(call('GetCycleCounter', 0), 25_000n);
    assert.equal(call('GetCycleCounter', 1), 25_000n);
    assert.equal(call('GetCycleCounter', 2), 0n, 'nothing was stolen');
    assert.equal(call('GetCycleCounter', 99), 0n);
    assert.equal(call('GetWallclockTime'), cpu.clock.epoch + 10_000n);
  });

  test('one alarm a counter, by IRQ 0', () => {
    const { cpu, call, alarm, edges } = withApic(2_500_000_000);
    alarm(ONESHOT, 25_000n);
    cpu.clock.advance(9_999);
    assert.equal(edges(), 0);
    cpu.clock.advance(1);
    assert.equal(edges(), 1);
    cpu.clock.advance(1e9);
    assert.equal(edges(), 1);
    alarm(PERIODIC, 0n, 2_500n);
    cpu.clock.advance(0);
    assert.equal(edges(), 2, 'an expiry that has passed');
    cpu.clock.advance(3_500);
    assert.equal(edges(), 5);
    alarm(PERIODIC | 1, call('GetCycleCounter', 1) + 2_500n, 2_500n);
    assert.equal(call('CancelAlarm', PERIODIC) & 0xffffffffn, 1n);
    assert.equal(call('CancelAlarm', ONESHOT) & 0xffffffffn, 0n);
    cpu.clock.advance(1_000);
    assert.equal(edges(), 6, "the other counter's");
    assert.equal(call('CancelAlarm', LVTT | 1) & 0xffffffffn, 1n, 'the counter is all that counts');
  });

  test('by LVTT: its vector, unless it is masked', () => {
    const { cpu, apic, alarm, call, edges } = withApic();
    alarm(LVTT | PERIODIC, 0n, 1_000n);
    cpu.clock.advance(2_000);
    assert.equal(cpu.interrupts!.requested.size, 0);
    call('APICWrite', LVT_TIMER, 0x41);
    assert.equal(apic.timer, 0x41);
    cpu.clock.advance(1_000);
    assert.deepEqual([...cpu.interrupts!.requested], [0x41]);
    assert.equal(edges(), 0);
    assert.equal(call('APICRead', 0x30) & 0xffffffffn, 0x30n);
    assert.equal(call('APICRead', LOCAL_APIC_BASE + 0x30) & 0xffffffffn, 0x30n, 'an address will do');
  });

  test('nothing is too late, too early or too often', () => {
    const { cpu, alarm, edges, call } = withApic();
    alarm(PERIODIC, 2n ** 64n - 1n, 2n ** 64n - 1n);
    cpu.clock.advance(1e15);
    assert.equal(edges(), 0);
    assert.equal(call('CancelAlarm', 0) & 0xffffffffn, 1n);
    alarm(PERIODIC, 0n, 2n ** 64n - 1n);
    cpu.clock.advance(1e15);
    assert.equal(edges(), 1);
    alarm(2, 5n);
    cpu.clock.advance(100);
    assert.equal(edges(), 1, 'a counter that stands still');
    alarm(2, 0n);
    cpu.clock.advance(0);
    assert.equal(edges(), 2);
    assert.deepEqual(cpu.kills, []);
    alarm(3, 0n);
    assert.match(cpu.kills[0]!, /SetAlarm: an alarm on counter 3/);
  });
});

describe("another processor's state", () => {
  const fields = { cr0: 0x00, cr3: 0x08, eip: 0x18, esp: 0x30 } as const;
  function stateBytes(change: (view: DataView) => void = () => {}): Uint8Array {
    const view = new DataView(new ArrayBuffer(0x5c));
    view.setUint32(fields.cr0, 0x80050023, true);
    view.setUint32(fields.cr3, 0x5000, true);
    view.setUint32(fields.eip, 0xc0101234, true);
    view.setUint32(fields.esp, 0xc0109000, true);
    for (const [offset, selector] of [
      [0x40, 0x60],
      [0x42, 0x68],
      [0x44, 0x7b],
      [0x46, 0x7b],
      [0x48, 0xd8],
      [0x4e, 0xff],
    ] as const)
      view.setUint16(offset, selector, true);
    view.setUint32(0x50, GDT, true);
    change(view);
    return new Uint8Array(view.buffer);
  }
  function withGdt() {
    const machine = setUp();
    machine.descriptor(0x60, 0x9b00);
    machine.descriptor(0x68, 0x9300);
    machine.descriptor(0x78, 0xf300);
    machine.descriptor(0xd8, 0x12009334);
    return machine;
  }

  test('is what Linux fills in', () => {
    const { cpu } = withGdt();
    const state = parseApState(cpu, stateBytes());
    assert.ok(typeof state === 'object');
    assert.equal(state.registers.rip, 0xc0101234n);
    assert.equal(state.registers.rsp, 0xc0109000n);
    assert.equal(state.registers.gdtBase, BigInt(GDT));
    assert.deepEqual(state.segments.cs, { selector: 0x60, base: 0n, limit: 0xffffffff, attributes: 0xc09b00 });
    assert.equal(state.segments.fs?.base, 0x12340000n);
    assert.deepEqual(state.segments.gs, { selector: 0, base: 0n, limit: 0, attributes: 0 });
  });

  test('is what the processor starts in, once; otherwise it starts natively', () => {
    const { cpu, table, call, memory } = withGdt();
    const { startUp } = table.smp;
    assert.ok(typeof startUp === 'function');
    assert.equal(startUp(cpu, 0x99), false, 'no state');
    memory.copyIn(0x3000, stateBytes());
    call('SetInitialAPState', 0x3000, 0);
    memory.fill(0x3000, 0x5c);
    cpu.stop();
    assert.equal(startUp(cpu, 0x99), true);
    assert.equal(cpu.started, true);
    assert.equal(cpu.get('rip'), 0xc0101234n);
    assert.equal(cpu.segment('ss').selector, 0x68);
    assert.equal(startUp(cpu, 0x99), false, 'a state is for one start');
  });

  test('must be one that a processor can be in', () => {
    const { cpu } = withGdt();
    const bad: [RegExp, (view: DataView) => void][] = [
      [/real mode/, view => view.setUint32(0, 0x10, true)],
      [/CR3/, view => view.setUint32(8, 0x7ffff000, true)],
      [/cs 0x68/, view => view.setUint16(0x40, 0x68, true)],
      [/cs 0x0/, view => view.setUint16(0x40, 0, true)],
      [/ss 0x60/, view => view.setUint16(0x42, 0x60, true)],
      [/ds 0xffff/, view => view.setUint16(0x44, 0xffff, true)],
      [/LDT/, view => view.setUint16(0x4c, 0x88, true)],
      [/cs/, view => view.setUint32(0x50, 0xfffffff0, true)],
    ];
    for (const [reason, change] of bad) {
      const answer = parseApState(cpu, stateBytes(change));
      assert.ok(typeof answer === 'string');
      assert.match(answer, reason);
    }
  });
});

test('an IRET takes the place of the call to it, and of nothing else', () => {
  const { memory, call } = setUp();
  const routine = ROM_ADDRESS + buildRom().labels.get('IRET')!;
  const site = 0x4000;
  const write = (target: number, opcode = 0xe8) => {
    memory.write8(site, opcode);
    memory.write32(site + 1, (target - site - 5) >>> 0);
  };
  write(routine);
  call('IRET', site + 5);
  assert.deepEqual([...memory.copyOut(site, 5)], [0xcf, 0x90, 0x90, 0x90, 0x90]);
  for (const change of [() => write(routine + 1), () => write(routine, 0xe9), () => write(0)]) {
    change();
    const before = memory.copyOut(site, 5);
    call('IRET', site + 5);
    call('IRET', 0);
    call('IRET', 0xffffffff);
    assert.deepEqual(memory.copyOut(site, 5), before);
  }
});

test('twenty thousand calls of nonsense hurt the guest alone', () => {
  const random = createRandom(0x766d69n);
  const edges = [
    0n,
    1n,
    3n,
    7n,
    0x60n,
    0x3ffn,
    0x1000n,
    0x400000n - 8n,
    0x400000n,
    0x7fffffffn,
    0xfffff000n,
    0xffffffffn,
  ];
  const value = () => (random.below(3) === 0 ? random.next64() & 0xffffffffn : random.of(edges));
  const numbers = Object.keys(setUp().table.cpu.hypercalls).map(BigInt);
  let survived = 0;
  for (let round = 0; round < 200; round++) {
    const { cpu, table } = setUp();
    for (let n = 0; n < 100; n++) {
      const number = random.below(10) === 0 ? value() : random.of(numbers);
      if (random.below(4) === 0) cpu.memory.write32(SHARED_PAGE + 4 * random.below(1024), Number(value()));
      callByNumber({ table, cpu }, number, Array.from({ length: 5 }, value));
      cpu.clock.advance(random.below(1000));
      if (cpu.kills.length === 0) survived++;
    }
    for (const reason of cpu.kills) assert.match(reason, /^VMI call \w+.*: .{4}/);
  }
  assert.ok(survived > 100, `${survived} calls were taken`);
  assert.ok(VMI_CALLS.length === 74);
});
