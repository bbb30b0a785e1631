/**
 * A guest of Hyper-V without an engine, for the tests of this folder: its registers, its hypercalls and its message
 * page.
 */
import { vmcall } from '../../conformance/calls.ts';
import { fakeContext, fakeProcessors } from '../../conformance/fake-processor.ts';
import { type BackEnds, NO_BACK_ENDS } from '../../host/back-ends.ts';
import { hyperv } from './index.ts';

/** Where the guest keeps its pages. */
export const HYPERCALL_PAGE = 0x5000;
export const MESSAGE_PAGE = 0x6000;
export const EVENT_PAGE = 0x7000;
const INPUT = 0x8000;

export const MSR = {
  GUEST_OS_ID: 0x40000000,
  HYPERCALL: 0x40000001,
  VP_INDEX: 0x40000002,
  RESET: 0x40000003,
  TIME_REF_COUNT: 0x40000020,
  REFERENCE_TSC: 0x40000021,
  TSC_FREQUENCY: 0x40000022,
  APIC_FREQUENCY: 0x40000023,
  EOI: 0x40000070,
  ICR: 0x40000071,
  TPR: 0x40000072,
  VP_ASSIST_PAGE: 0x40000073,
  SCONTROL: 0x40000080,
  SVERSION: 0x40000081,
  SIEFP: 0x40000082,
  SIMP: 0x40000083,
  EOM: 0x40000084,
  SINT0: 0x40000090,
  GUEST_IDLE: 0x400000f0,
  STIMER0_CONFIG: 0x400000b0,
  STIMER0_COUNT: 0x400000b1,
  CRASH_P0: 0x40000100,
  CRASH_CTL: 0x40000105,
} as const;

/** VMBus' SINT, and the vector Linux gives it. */
export const SINT = 2;
export const VECTOR = 0xf3;

/** @param backEnds what stands behind its devices; @param size of its RAM, in bytes; @param count of processors */
export function fakeGuest(backEnds: Partial<BackEnds> = {}, size = 1 << 20, count = 1) {
  const cpus = fakeProcessors(count, size);
  const [cpu] = cpus;
  const { memory } = cpu;
  const table = hyperv.make({ ...fakeContext(...cpus), backEnds: { ...NO_BACK_ENDS, ...backEnds } });
  cpu.set('cr0', 1n);
  const op = <F>(value: F): Extract<F, (...rest: never[]) => unknown> =>
    value as Extract<F, (...rest: never[]) => unknown>;
  const read = (index: number): bigint => table.cpu.msrs[index].read!(cpu);
  /** @returns false for #GP. */
  const write = (index: number, value: bigint | number): boolean =>
    table.cpu.msrs[index].write!(cpu, BigInt.asUintN(64, BigInt(value)));

  const enableHypercalls = () =>
    write(MSR.GUEST_OS_ID, 0x8100_0000_0006_0100n) && write(MSR.HYPERCALL, HYPERCALL_PAGE | 1);
  const enableSynic = () =>
    write(MSR.SIMP, MESSAGE_PAGE | 1) &&
    write(MSR.SIEFP, EVENT_PAGE | 1) &&
    write(MSR.SINT0 + SINT, VECTOR) &&
    write(MSR.SCONTROL, 1);

  /** A hypercall of 64-bit code. @returns the result. */
  const call = (value: bigint | number, input: bigint | number = 0, second: bigint | number = 0): number => {
    cpu.set('rip', 0x1003n);
    cpu.set('rcx', BigInt(value));
    cpu.set('rdx', BigInt(input));
    cpu.set('r8', BigInt(second));
    cpu.set('rax', 0xffffn);
    vmcall({ table, cpu });
    return Number(cpu.get('rax'));
  };
  /** HvCallPostMessage of 32-bit words. @returns the status. */
  const post = (words: readonly number[], { connection = 4, type = 1, size = 4 * words.length } = {}): number => {
    memory.fill(INPUT, 256);
    for (const [index, word] of [connection, 0, type, size, ...words].entries())
      memory.write32(INPUT + 4 * index, word);
    return call(0x5c, INPUT);
  };

  /** What is in a SINT's slot, or undefined. */
  const message = (sint = SINT) => {
    const slot = MESSAGE_PAGE + 256 * sint;
    const type = memory.read32(slot);
    if (type === 0) return undefined;
    const size = memory.read8(slot + 4);
    return { type, more: memory.read8(slot + 5) === 1, payload: memory.copyOut(slot + 16, size) };
  };
  /** Reads a message as Linux does: empties the slot and, if more are waiting, says so. @returns its words. */
  const receive = (sint = SINT): number[] | undefined => {
    const found = message(sint);
    if (!found) return undefined;
    memory.write32(MESSAGE_PAGE + 256 * sint, 0);
    // Only now, since a message may come in between.
    if (memory.read8(MESSAGE_PAGE + 256 * sint + 5) === 1) write(MSR.EOM, 0);
    return [...new Uint32Array(found.payload.buffer)];
  };

  return { cpu, cpus, memory, table, op, read, write, enableHypercalls, enableSynic, call, post, message, receive };
}
