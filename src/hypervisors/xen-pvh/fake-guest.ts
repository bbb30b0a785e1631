/**
 * A PVH guest for tests: a domain on a processor without an engine. Tests make hypercalls as the guest's kernel would
 * and look at what came of them.
 */
import assert from 'node:assert/strict';
import { parseKernel } from '../../boot/image.ts';
import { FakeProcessor, fakeContext, noFirmware } from '../../conformance/fake-processor.ts';
import { tinyKernel } from '../../conformance/tiny-elf.ts';
import type { Disk } from '../../host/disk.ts';
import { xenPvh } from './index.ts';

export const MEMORY = 16 << 20;
/** Pages the guest uses: for arguments, and to put shared pages on. */
export const ARGUMENTS = 0x100000;
export const SHARED = 0x110000;
export const INFO = 0x120000;
export const DATA = 0x130000;
const kernel = parseKernel(tinyKernel([0xf4, 0xeb, 0xfd]));

export type Field = [size: 1 | 2 | 4 | 8, value: number | bigint];

/** @param processors the first one runs, and makes the calls; the others wait to be started */
export async function boot(disks: readonly Disk[] = [], processors = 1) {
  const cpu = new FakeProcessor({ memory: MEMORY });
  const cpus = [cpu];
  for (let id = 1; id < processors; id++) cpus.push(new FakeProcessor({ id, memory: cpu.memory, clock: cpu.clock }));
  const context = { ...fakeContext(...cpus), backEnds: { disks, networks: [], folders: [] } };
  const table = xenPvh.make(context);
  const op = <F>(value: F) => value as Extract<F, (...rest: never[]) => unknown>;
  const { memory, log } = context;
  const entry = op(table.boot.load)(
    { image: await kernel, initrd: undefined, natively: noFirmware, commandLine: 'x', memory, log },
    context,
  );
  const call = (number: number, ...args: (number | bigint)[]): number => {
    cpu.set('rax', BigInt(number));
    for (const [index, register] of (['rdi', 'rsi', 'rdx', 'r10', 'r8'] as const).entries())
      cpu.set(register, BigInt.asUintN(64, BigInt(args[index] ?? 0)));
    op(table.cpu.hypercall)(cpu);
    return Number(BigInt.asIntN(64, cpu.get('rax')));
  };
  /** Puts a structure's fields at ARGUMENTS, one after the other at the offsets given. */
  const put = (fields: Record<number, Field>): number => {
    memory.fill(ARGUMENTS, 128);
    for (const [offset, [size, value]] of Object.entries(fields)) {
      const at = ARGUMENTS + Number(offset);
      if (size === 1) memory.write8(at, Number(value));
      else if (size === 2) memory.write16(at, Number(value));
      else if (size === 4) memory.write32(at, Number(value));
      else memory.write64(at, BigInt(value));
    }
    return ARGUMENTS;
  };
  const parameter = (index: number): number => {
    assert.equal(call(34, 1, put({ 0: [2, 0x7ff0], 4: [4, index] })), 0);
    return Number(memory.read64(ARGUMENTS + 8));
  };
  const addToPhysmap = (space: number, index: number, address: number) =>
    call(12, 7, put({ 0: [2, 0x7ff0], 4: [4, space], 8: [8, index], 16: [8, address >>> 12] }));
  const bindVirq = (virq: number) => {
    assert.equal(call(32, 1, put({ 0: [4, virq] })), 0);
    return memory.read32(ARGUMENTS + 8);
  };
  const cpuid = (leaf: number, subleaf = 0) =>
    op(table.cpu.cpuid)(cpu, leaf, subleaf, () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0x1ff }))!;
  return { cpu, cpus, context, memory, table, op, entry, call, put, parameter, addToPhysmap, bindVirq, cpuid };
}
