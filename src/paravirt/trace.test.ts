import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor, fakeContext } from '../conformance/fake-processor.ts';
import { bareTable } from '../hypervisors/bare/index.ts';
import { derive } from './derive.ts';
import { native } from './native.ts';
import type { HypervisorModule } from './operations.ts';
import { type Crossing, traced } from './trace.ts';

const title = 'a hypervisor of this test';
const toy: HypervisorModule = {
  name: 'toy',
  title,
  make: () =>
    derive(bareTable, {
      name: 'toy',
      title,
      cpu: {
        hypercall(cpu) {
          cpu.set('rax', 7n);
          return true;
        },
        hypercalls: { 3: { name: 'TOY_CALL', arguments: [], status: 'done' } },
        msrs: { 16: { name: 'MSR_TOY', read: () => 5n, write: (_cpu, value) => value < 10n } },
      },
      mmu: { pageFault: (_cpu, { address }) => address === 1n },
      irq: { delivered: () => {} },
    }),
};

function setUp(module: HypervisorModule) {
  const cpu = new FakeProcessor();
  const crossings: Crossing[] = [];
  const table = traced(module, crossing => void crossings.push(crossing)).make(fakeContext(cpu));
  cpu.set('rip', 0x1234n);
  cpu.clock.advance(50);
  return { cpu, crossings, table };
}

test('what crosses is written down, with where and when, and answered as before', () => {
  const { cpu, crossings, table } = setUp(toy);
  const natively = () => ({ eax: 1, ebx: 2, ecx: 3, edx: 4 });
  assert.ok(typeof table.cpu.cpuid === 'function' && typeof table.cpu.hypercall === 'function');
  assert.deepEqual(table.cpu.cpuid(cpu, 1, 0, natively), natively());
  cpu.set('rax', 3n);
  cpu.set('rdi', 9n);
  table.cpu.hypercall(cpu);
  assert.equal(table.cpu.msrs[0x10].read!(cpu), 5n);
  assert.equal(table.cpu.msrs[0x10].write!(cpu, 10n), false);
  assert.ok(typeof table.mmu.pageFault === 'function' && typeof table.irq.delivered === 'function');
  assert.equal(table.mmu.pageFault(cpu, { vector: 14, code: 2, address: 1n }), true);
  assert.equal(table.mmu.pageFault(cpu, { vector: 14, address: 2n }), false);
  table.irq.delivered(cpu, 0x20);

  const seen = crossings.map(({ operation, name, arguments: args, result }) => ({ operation, name, args, result }));
  assert.deepEqual(seen[0], {
    operation: 'cpu.cpuid',
    name: undefined,
    args: { leaf: 1, subleaf: 0 },
    result: undefined,
  });
  assert.equal(seen[1].name, 'TOY_CALL');
  assert.equal(seen[1].args.number, 3n);
  assert.equal(seen[1].args.rdi, 9n);
  assert.equal(seen[1].result, 7n);
  assert.deepEqual(seen[2], { operation: 'cpu.msr read', name: 'MSR_TOY', args: { index: 0x10 }, result: 5n });
  assert.deepEqual(seen[3].args, { index: 0x10, value: 10n });
  assert.deepEqual(seen[4].args, { address: 1n, code: 2 });
  assert.deepEqual(seen[6], { operation: 'irq.delivered', name: undefined, args: { vector: 0x20 }, result: undefined });
  assert.ok(crossings.every(({ time, address }) => time === 50 && address === 0x1234n));
});

test('a call that does not come back has no result', () => {
  const leave = derive(bareTable, {
    name: 'toy',
    title,
    cpu: {
      hypercall(cpu) {
        cpu.set('rip', 0x99n);
        return true;
      },
    },
  });
  const { cpu, crossings, table } = setUp({ ...toy, make: () => leave });
  assert.ok(typeof table.cpu.hypercall === 'function');
  table.cpu.hypercall(cpu);
  assert.equal(cpu.get('rip'), 0x99n);
  assert.equal(crossings[0]!.address, 0x1234n);
  assert.equal('result' in crossings[0]!, false);
});

test('where RIP is not at a register, its reader or writer is whom the stack names', () => {
  const { cpu, crossings, table } = setUp(toy);
  const TEXT = 0xffffffff81000000n;
  const [MSR_CODE, CALL] = [TEXT + 0x100n, TEXT + 0x205n];
  const code = new Map([[CALL - 7n, Uint8Array.of(0x90, 0x90, 0xe8, 0, 0, 0, 0)]]);
  cpu.set('rsp', TEXT + 0xfe8n);
  cpu.read = (linear, length) => {
    const bytes = new Uint8Array(length);
    if (linear === cpu.get('rsp')) new DataView(bytes.buffer).setBigUint64(8, CALL, true);
    bytes.set((code.get(linear) ?? new Uint8Array()).subarray(0, length));
    return bytes;
  };
  cpu.set('rip', MSR_CODE);
  table.cpu.msrs[0x10].write!(cpu, 1n);
  assert.deepEqual(
    crossings.map(({ address, callers }) => [address, callers]),
    [[MSR_CODE, [CALL]]],
  );
});

test('ops that are native stay native: the translator may still write them inline', () => {
  const { table } = setUp({ ...toy, make: () => bareTable });
  assert.equal(table.cpu.hypercall, native);
  assert.equal(table.mmu.pageFault, native);
  assert.equal(table.irq.exception, native);
});
