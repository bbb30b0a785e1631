/**
 * A PV guest for tests: a domain of 16 MiB around a kernel that nobody runs, on a processor without an engine that
 * walks the guest's real page tables. Tests make hypercalls as the guest's kernel would and look at what came of them.
 */

import { parseKernel } from '../../boot/image.ts';
import { FakeProcessor, fakeContext, noFirmware } from '../../conformance/fake-processor.ts';
import { tinyKernel } from '../../conformance/tiny-elf.ts';
import type { Exception, RegisterName, SegmentName } from '../../paravirt/processor.ts';
import { PTE_P, PTE_RW, PTE_US } from '../../x86/paging.ts';
import { DomainSlot } from '../xen/domain-slot.ts';
import { createCpu } from './cpu.ts';
import { buildDomain } from './domain-builder.ts';
import { createIrq } from './irq.ts';
import { createMmu } from './mmu.ts';
import { pageNumberOf } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

const MEMORY = 16 << 20;
/** Where the tiny kernel sees its memory. */
export const VIRTUAL_BASE = 0xffffffff80000000n;
/** Frames that the domain does not use: free for tests, mapped by nothing (the first mapping ends at 4 MiB). */
export const FREE = 0x500;
/** A frame that is mapped and holds nothing: for arguments. Its linear address is `ARGUMENTS`. */
export const ARGUMENT_FRAME = 0x20;
export const ARGUMENTS = VIRTUAL_BASE + BigInt(ARGUMENT_FRAME * 4096);

const kernel = parseKernel(tinyKernel([0xf4]));

class WalkingProcessor extends FakeProcessor {
  /** SDM 3A 4.5, for the rights that a PV guest depends on: every access is one of CPL 3 unless said. */
  override translate(linear: bigint, access: { write?: boolean; user?: boolean } = {}): number | Exception {
    const fault = (present: boolean): Exception => ({
      vector: 14,
      code: (present ? 1 : 0) | (access.write ? 2 : 0) | (access.user ? 4 : 0),
      address: linear,
    });
    const page = pageNumberOf(linear);
    if (page === undefined) return { vector: 13, code: 0 };
    let table = Number(this.get('cr3'));
    let rights = PTE_RW | PTE_US;
    for (const shift of [27, 18, 9, 0]) {
      const entry = this.memory.read32(table + (Math.floor(page / 2 ** shift) % 512) * 8);
      if ((entry & PTE_P) === 0) return fault(false);
      rights &= entry;
      table = (entry & ~0xfff) >>> 0;
    }
    if ((access.write && !(rights & PTE_RW)) || (access.user && !(rights & PTE_US))) return fault(true);
    return table + Number(linear & 0xfffn);
  }
}

export interface FakeGuest {
  cpu: FakeProcessor;
  /** All processors: `cpu` and those that it may start. */
  cpus: readonly FakeProcessor[];
  pv: PvDomain;
  v: PvVcpu;
  /** Makes hypercall `number`; the result as a signed number. */
  call(number: number, ...values: (number | bigint)[]): number;
  /** Stores 64-bit words in the argument page and gives its address. */
  words(...values: (number | bigint)[]): bigint;
  /** One request of mmu_update: entry `index` of table `frame` becomes `value`. */
  update(frame: number, index: number, value: bigint | number, command?: number): number;
  /** One operation of mmuext_op. */
  extended(command: number, argument1?: number | bigint, argument2?: number | bigint): number;
  entry(frame: number, index: number): bigint;
  /** Writes an entry into a frame that is no table yet, as the guest would by a store. */
  poke(frame: number, index: number, value: bigint | number): void;
  cpuOps: Required<Pick<ReturnType<typeof createCpu>, 'cpuid' | 'syscall' | 'hypercalls'>>;
  exception(exception: Exception): void;
  interrupt(vector: number, next: bigint): void;
  pageFault(address: bigint, code: number): boolean;
  deliver(): boolean;
  pending(): boolean;
}

const ARGUMENT_REGISTERS: readonly RegisterName[] = ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'];

type Call<F> = Extract<F, (...rest: never[]) => unknown>;

/** @param processors the first one runs, and makes the calls; the others wait to be started */
export async function createFakeGuest(processors = 1): Promise<FakeGuest> {
  const cpu = new WalkingProcessor({ memory: MEMORY });
  cpu.cpl = 3;
  const { memory, clock } = cpu;
  const others = Array.from({ length: processors - 1 }, (_, i) => new WalkingProcessor({ id: i + 1, memory, clock }));
  const context = fakeContext(cpu, ...others);
  const { pv, entry } = buildDomain(
    {
      image: await kernel,
      initrd: undefined,
      natively: noFirmware,
      commandLine: 'test',
      memory: cpu.memory,
      log: cpu.log,
    },
    context,
  );
  for (const [name, value] of Object.entries(entry.registers)) cpu.set(name as RegisterName, value);
  for (const [name, value] of Object.entries(entry.segments)) cpu.setSegment(name as SegmentName, value);
  const slot = new DomainSlot<PvDomain>();
  slot.built = pv;
  const cpuOps = createCpu(context, slot);
  const irq = createIrq(context, slot);
  const mmu = createMmu(context, slot);
  const guest: FakeGuest = {
    cpu,
    cpus: [cpu, ...others],
    pv,
    v: pv.vcpus[0]!,
    cpuOps: cpuOps as FakeGuest['cpuOps'],
    call(number, ...values) {
      cpu.set('rax', BigInt(number));
      for (const [i, name] of ARGUMENT_REGISTERS.entries()) cpu.set(name, BigInt(values[i] ?? 0));
      // The instruction is two bytes long, and RIP is past it.
      cpu.set('rip', cpu.get('rip') + 2n);
      (cpuOps.syscall as Call<typeof cpuOps.syscall>)(cpu);
      return Number(BigInt.asIntN(64, cpu.get('rax')));
    },
    words(...values) {
      for (const [i, value] of values.entries())
        cpu.memory.write64(ARGUMENT_FRAME * 4096 + 8 * i, BigInt.asUintN(64, BigInt(value)));
      return ARGUMENTS;
    },
    update(frame, index, value, command = 0) {
      return guest.call(1, guest.words(frame * 4096 + index * 8 + command, value), 1, 0, 0x7ff0);
    },
    extended(command, argument1 = 0, argument2 = 0) {
      return guest.call(26, guest.words(command, argument1, argument2), 1, 0, 0x7ff0);
    },
    entry: (frame, index) => cpu.memory.read64(frame * 4096 + index * 8),
    poke: (frame, index, value) => cpu.memory.write64(frame * 4096 + index * 8, BigInt(value)),
    exception: exception => (irq.exception as Call<typeof irq.exception>)(cpu, exception),
    interrupt: (vector, next) => (irq.softwareInterrupt as Call<typeof irq.softwareInterrupt>)(cpu, vector, next),
    pageFault: (address, code) => (mmu.pageFault as Call<typeof mmu.pageFault>)(cpu, { vector: 14, code, address }),
    deliver: () => (irq.deliver as Call<typeof irq.deliver>)(cpu),
    pending: () => (irq.pending as Call<typeof irq.pending>)(cpu),
  };
  return guest;
}
