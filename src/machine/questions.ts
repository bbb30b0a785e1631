/**
 * What a processor asks while it executes, and who answers: the ops of the hypervisor (`bindQuestions`, made from the table of
 * ops), the buses, the model-specific registers, CPUID, and what the machine itself keeps.
 */
import type { LocalApic } from '../devices/local-apic.ts';
import type { EngineEnvironment } from '../engine/engine.ts';
import type { Cpu } from '../engine/x86/cpu.ts';
import { cpuid } from '../engine/x86/cpuid.ts';
import { nativeMsrs } from '../engine/x86/msrs.ts';
import { state } from '../engine/x86/state.ts';
import type { Bus, Width } from '../memory/bus.ts';
import { native, nothing } from '../paravirt/native.ts';
import type { AnyOperation } from '../paravirt/operation.ts';
import { operations, type Paravirt, type Questions } from '../paravirt/operations.ts';
import type { Processor } from '../paravirt/processor.ts';
import type { AnyFunction } from '../paravirt/replace.ts';
import { CR4_OSXSAVE } from '../x86/control.ts';
import { apicId, type Topology } from '../x86/topology.ts';
import type { Counts } from './counts.ts';
import type { createTallies } from './tallies.ts';

export type Tallies = ReturnType<typeof createTallies>;

/**
 * The ops of `table` as `processor` asks them. An op that is native is no question: whoever would ask does what hardware
 * does. One that is `nothing` is a constant. A function is called with the processor, counted as its line says.
 * @param exits of the processor: hypercalls are counted there, by whichever instruction they come
 */
export function bindQuestions(
  table: Paravirt,
  processor: Processor,
  counts: Counts,
  tallies: Tallies,
  exits: Counts,
): Questions {
  const hypercalls = exits.of('hypercall');
  const questions: Record<string, AnyFunction> = {};
  for (const [group, lines] of Object.entries(operations))
    for (const [name, line] of Object.entries(lines as Readonly<Record<string, AnyOperation>>)) {
      const op = table[group as keyof typeof operations][name as never] as typeof native | typeof nothing | AnyFunction;
      if (line.told[0] !== 'cpu' || op === native) continue;
      if (Object.hasOwn(questions, name)) throw new Error(`two ops have the name ${name}`);
      if (op === nothing) questions[name] = () => line.nothing;
      else if (line.noted === 'never') questions[name] = (...told) => op(processor, ...told);
      else {
        const count = counts.of(`${group}.${name}`);
        const isCall = line.noted === 'call';
        questions[name] = (...told) => {
          count.value++;
          if (isCall && tallies.hypercall(processor)) hypercalls.value++;
          return op(processor, ...told);
        };
      }
    }
  return questions as Questions;
}

/** What answers one processor, besides the hypervisor's ops. */
export interface Answerers {
  table: Paravirt;
  questions: Questions;
  processor: Processor;
  cpu: Cpu;
  ports: Bus;
  mmio: Bus;
  apic: LocalApic | undefined;
  exits: Counts;
  tallies: Tallies;
}

/** A value of `width` bytes read one by one, the lowest first in memory. */
function splitBytes(width: number, read: (index: number) => number): number {
  let value = 0;
  for (let i = width - 1; i >= 0; i--) value = value * 256 + read(i);
  return value;
}

/** Ports and memory-mapped registers. */
export function busQuestions({ processor, ports, mmio, exits, tallies }: Answerers) {
  const [portIn, portOut] = [exits.of('port in'), exits.of('port out')];
  const [mmioRead, mmioWrite] = [exits.of('mmio read'), exits.of('mmio write')];
  return {
    portRead(port, bytes) {
      portIn.value++;
      tallies.in.add(port);
      if (port + bytes > 0x10000) return splitBytes(bytes, i => ports.read((port + i) & 0xffff, 1, processor));
      return ports.read(port, bytes as Width, processor) >>> 0;
    },
    portWrite(port, bytes, value) {
      portOut.value++;
      tallies.out.add(port);
      ports.write(port, bytes as Width, value >>> 0, processor);
    },
    mmioRead(address, width) {
      mmioRead.value++;
      return mmio.read(address, width, processor);
    },
    mmioWrite(address, width, value) {
      mmioWrite.value++;
      mmio.write(address, width, value, processor);
    },
  } satisfies Partial<EngineEnvironment>;
}

/** RDMSR and WRMSR: the hypervisor's registers come first, then the processor's, then the local APIC's. */
export function msrQuestions({ table, processor, cpu, apic, exits, tallies }: Answerers) {
  const [reads, writes] = [exits.of('msr read'), exits.of('msr write')];
  const { log } = processor;
  const { msrs } = table.cpu;
  return {
    readMsr(index) {
      reads.value++;
      tallies.read.add(index);
      const own = msrs[index];
      if (own) return own.read?.(processor);
      const found = nativeMsrs[index];
      if (found) return found.read?.(cpu);
      const value = apic?.readMsr(index);
      if (value === undefined) log.once(`rdmsr ${index}`, `read of MSR 0x${index.toString(16)}: not there, #GP`);
      return value;
    },
    writeMsr(index, value) {
      writes.value++;
      tallies.write.add(index);
      const own = msrs[index];
      if (own) return own.write?.(processor, value) ?? false;
      const found = nativeMsrs[index];
      const taken = found ? (found.write?.(cpu, value) ?? false) : (apic?.writeMsr(index, value) ?? false);
      if (!taken)
        log.once(`wrmsr ${index}`, `write of 0x${value.toString(16)} to MSR 0x${index.toString(16)}: refused, #GP`);
      return taken;
    },
  } satisfies Partial<EngineEnvironment>;
}

/** CPUID: the hypervisor's leaves, which may be made from the processor's own. */
export function cpuidQuestion({ questions, processor, cpu, apic, exits }: Answerers, topology: Topology) {
  const count = exits.of('cpuid');
  const natively = (leaf: number, subleaf: number) =>
    cpuid(leaf, subleaf, {
      apicId: apicId(topology, processor.id),
      topology,
      osxsave: (cpu.get32(state.CR4) & CR4_OSXSAVE) !== 0,
      components: cpu.get32(state.XCR0_SUPPORTED),
      xcr0: cpu.get32(state.XCR0),
      apic: apic?.enabled ?? false,
    });
  return {
    cpuid(leaf, subleaf) {
      count.value++;
      const ask = questions.cpuid;
      return ask?.(leaf, subleaf, () => natively(leaf, subleaf)) ?? natively(leaf, subleaf);
    },
  } satisfies Partial<EngineEnvironment>;
}
