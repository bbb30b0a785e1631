/** What Linux's arch/x86/kernel/jailhouse.c asks: the signature and the setup data; and what a cell may and may not do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SETUP } from '../../boot/bzimage.ts';
import { parseKernel } from '../../boot/image.ts';
import { type FakeProcessor, fakeContext, fakeProcessors, noFirmware } from '../../conformance/fake-processor.ts';
import { tinyKernel } from '../../conformance/tiny-elf.ts';
import { MUTE } from '../../host/console.ts';
import { jailhouse } from './index.ts';
import { describeCell, JAILHOUSE_SETUP } from './setup-data.ts';

const RAM = 16 << 20;
const SETUP_JAILHOUSE = 6;
const ANSWER_OF_NOTHING = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
const kernel = parseKernel(tinyKernel([0xf4, 0xeb, 0xfd]));

function makeCell(processors = 1) {
  const cpus = fakeProcessors(processors, RAM);
  const context = fakeContext(...cpus);
  return { cpus, cpu: cpus[0], context, table: jailhouse.make(context) };
}

function call(table: ReturnType<typeof makeCell>['table'], cpu: FakeProcessor, ...values: bigint[]): bigint {
  for (const [index, name] of (['rax', 'rdi', 'rsi'] as const).entries()) cpu.set(name, values[index] ?? 0n);
  const { hypercall } = table.cpu;
  assert.ok(typeof hypercall === 'function');
  hypercall(cpu);
  return BigInt.asIntN(64, cpu.get('rax'));
}

test('a cell finds Jailhouse, and nothing that it offers', () => {
  const { cpu, table } = makeCell();
  const { cpuid } = table.cpu;
  assert.ok(typeof cpuid === 'function');
  const ask = (leaf: number) => cpuid(cpu, leaf, 0, () => ANSWER_OF_NOTHING);
  assert.equal(ask(1)!.ecx >>> 31, 1);
  const { eax, ebx, ecx, edx } = ask(0x40000000)!;
  assert.equal(Buffer.from(new Uint32Array([ebx, ecx, edx]).buffer).toString('latin1'), 'Jailhouse\0\0\0');
  assert.equal(eax, 0x40000001);
  assert.deepEqual(ask(0x40000001), ANSWER_OF_NOTHING);
  assert.equal(ask(0x40000002), undefined);
});

test('setup data in the boot parameters say what there is', async () => {
  const { cpu, context, table } = makeCell(3);
  const { load } = table.boot;
  assert.ok(typeof load === 'function');
  const { memory, log } = context;
  const image = await kernel;
  const entry = load({ image, initrd: undefined, commandLine: 'x', memory, log, natively: noFirmware }, context);
  const bootParams = Number(entry.registers.rsi);
  assert.equal(memory.read64(bootParams + 0x70), 0n, 'there is no ACPI');
  const node = Number(memory.read64(bootParams + SETUP.setup_data));
  assert.equal(memory.read64(node), 0n, 'it is the only one');
  assert.equal(memory.read32(node + 8), SETUP_JAILHOUSE);
  const at = node + 16;
  assert.equal(memory.read32(node + 12), JAILHOUSE_SETUP.flags + 4);
  assert.equal(memory.read16(at + JAILHOUSE_SETUP.version), 2);
  assert.equal(memory.read16(at + JAILHOUSE_SETUP.compatible_version), 1);
  assert.equal(memory.read16(at + JAILHOUSE_SETUP.pm_timer_address), 0x608);
  assert.equal(memory.read16(at + JAILHOUSE_SETUP.num_cpus), 3);
  assert.equal(memory.read64(at + JAILHOUSE_SETUP.pci_mmconfig_base), 0n);
  assert.equal(memory.read32(at + JAILHOUSE_SETUP.tsc_khz), cpu.tsc.frequency / 1000);
  assert.equal(memory.read32(at + JAILHOUSE_SETUP.apic_khz), 1_000_000);
  assert.equal(memory.read8(at + JAILHOUSE_SETUP.standard_ioapic), 1);
  assert.deepEqual([...memory.copyOut(at + JAILHOUSE_SETUP.cpu_ids, 4)], [0, 1, 2, 0]);
  assert.equal(memory.read32(at + JAILHOUSE_SETUP.flags), 1);
  const flags = describeCell({ ...context, backEnds: { ...context.backEnds, serial: MUTE } });
  assert.equal(new DataView(flags.buffer).getUint32(JAILHOUSE_SETUP.flags, true), 3, 'with a second serial port');
});

test('hypercalls: what is the root cell’s is refused, its own processors and the debug console are there', () => {
  const { cpu, context, table } = makeCell(2);
  const [EPERM, EINVAL, ENOSYS] = [-1n, -22n, -38n];
  for (const number of [0n, 1n, 2n, 3n, 4n, 6n]) assert.equal(call(table, cpu, number), EPERM);
  assert.equal(call(table, cpu, 5n, 4n), 2n, 'the root cell and this one');
  assert.equal(call(table, cpu, 5n, 5n), EINVAL);
  assert.equal(call(table, cpu, 7n, 1n, 0n), 0n, 'the second processor runs');
  assert.equal(call(table, cpu, 7n, 2n, 0n), EINVAL, 'there is no third');
  assert.equal(call(table, cpu, 7n, 0n, 1010n), 0n);
  assert.equal(call(table, cpu, 7n, 0n, 1011n), EINVAL);
  assert.equal(call(table, cpu, 8n, 65n), 0n);
  assert.deepEqual(context.written, [65]);
  assert.equal(call(table, cpu, 9n), ENOSYS);
  assert.equal(call(table, cpu, 1n << 40n), ENOSYS);
  cpu.cpl = 3;
  assert.equal(call(table, cpu, 8n, 66n), EPERM);
  assert.deepEqual(context.written, [65]);
});

test('a port of the PC’s that is not the cell’s ends it, in Jailhouse’s words', () => {
  for (const port of [0x20, 0x43, 0x61, 0x64, 0x71, 0x604]) {
    const { cpu, context } = makeCell();
    assert.equal(context.ports.read(port, 1, cpu), 0xff);
    context.ports.write(port, 1, 0, cpu);
    assert.match(cpu.kills[0]!, new RegExp(`^FATAL: Invalid PIO read, port: ${port.toString(16)} size: 1: `));
    assert.match(cpu.kills[1]!, /^FATAL: Invalid PIO write/);
  }
  const { cpu, context } = makeCell();
  context.ports.read(0x608, 4, cpu);
  context.ports.read(0x80, 1, cpu);
  assert.deepEqual(cpu.kills, []);
});
