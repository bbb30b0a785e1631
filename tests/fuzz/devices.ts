/**
 * A hostile guest of each hypervisor at its devices: ports and memory-mapped registers of all who have claimed any, registers and
 * CPUID leaves, hypercalls, what it types, interrupts that it takes, its own stores, and time in between, without an engine.
 * Nothing of it throws, every answer has its width, and what is known afterwards is data.
 */
import { hypervisors } from '../../src/hypervisors/list.ts';
import type { HypervisorModule } from '../../src/paravirt/operations.ts';
import type { RegisterName } from '../../src/paravirt/processor.ts';
import { type FakeMachine, fakeMachine } from './fake-machine.ts';
import { caseFuzzer, type Fuzzer, type Random } from './fuzzer.ts';

/** Steps of one input. */
const STEPS = 4000;
const WIDTHS = [1, 2, 4] as const;
const REGISTERS: readonly RegisterName[] = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'r8', 'r9', 'r10'];

type Step =
  /** Of a claimed range, counted modulo their number; `offset` modulo its size and a little more. */
  | { do: 'in' | 'out' | 'read' | 'write'; range: number; offset: number; width: 1 | 2 | 4; value: number }
  /** A register: one of those that there are, or any. */
  | { do: 'rdmsr' | 'wrmsr'; index: number; known: boolean; value: bigint }
  | { do: 'cpuid'; leaf: number; subleaf: number }
  | { do: 'hypercall'; registers: readonly bigint[] }
  | { do: 'store'; address: number; value: bigint }
  | { do: 'pass'; time: number }
  | { do: 'interrupt' | 'type'; value: number };

const EDGES = [0, 1, 2, 3, 4, 7, 8, 0x10, 0x20, 0x40, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000];
const WIDE = [...EDGES, 0x80000000, 0x7fffffff, 0xffffffff, 0xfffffffe, 0xe0000000, 0xfee00000, 0xfec00000, 0x20000];

const number32 = (random: Random): number =>
  random.below(3) === 0 ? random.below(2 ** 32) : (random.of(WIDE) + random.below(2) * random.below(8)) >>> 0;
const number64 = (random: Random): bigint => {
  switch (random.below(6)) {
    case 0:
      return random.next64();
    case 1:
      return (1n << BigInt(random.below(64))) - BigInt(random.below(2));
    case 2:
      // An address of a page of the guest's, with a bit that enables.
      return (BigInt(random.below(4096)) << 12n) | BigInt(random.below(4));
    default:
      return BigInt(number32(random));
  }
};
const MSRS = [0x1b, 0x10, 0x11, 0x12, 0x6e0, 0xc0000080, 0x4b564d00, 0x40000000, 0x40000080, 0x800, 0xc0000100];

function makeStep(random: Random): Step {
  const kind = random.below(20);
  if (kind < 12) {
    const what = random.of(['in', 'out', 'out', 'read', 'write', 'write'] as const);
    return {
      do: what,
      range: random.below(64),
      offset: random.below(3) ? random.below(64) : random.below(0x5000),
      width: random.of(WIDTHS),
      value: number32(random),
    };
  }
  switch (kind) {
    case 12:
    case 13:
      return {
        do: random.below(3) ? 'wrmsr' : 'rdmsr',
        known: random.below(4) > 0,
        index: random.below(8) ? random.of(MSRS) + random.below(0x40) : random.below(2 ** 32),
        value: number64(random),
      };
    case 14:
      return {
        do: 'cpuid',
        leaf: random.of([0, 1, 0xd, 0x40000000, 0x40000100, 0x80000000]) + random.below(16),
        subleaf: random.below(random.of([2, 16, 2 ** 32])),
      };
    case 15:
      return { do: 'hypercall', registers: REGISTERS.map(() => number64(random)) };
    case 16:
      return { do: 'store', address: random.below(2 ** 21) * 8, value: number64(random) };
    case 17:
      return { do: 'pass', time: random.of([0, 100, 10_000, 1_000_000]) };
    case 18:
      return { do: 'interrupt', value: random.below(2) };
    default:
      return { do: 'type', value: random.below(256) };
  }
}

const LIMITS = { 1: 0xff, 2: 0xffff, 4: 0xffffffff } as const;
const isRegister = (value: unknown): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32;

function access(machine: FakeMachine, step: Extract<Step, { range: number }>): string | undefined {
  const { cpu, context } = machine;
  const bus = step.do === 'in' || step.do === 'out' ? context.ports : context.mmio;
  const { claimed } = bus;
  if (claimed.length === 0) return undefined;
  const { start, size } = claimed[step.range % claimed.length]!;
  const at = start + (step.offset % (size + 4));
  if (step.do === 'out' || step.do === 'write') {
    bus.write(at, step.width, step.width === 4 ? step.value : step.value & LIMITS[step.width], cpu);
    return undefined;
  }
  const value = bus.read(at, step.width, cpu);
  const fits = Number.isInteger(value) && value >= 0 && value <= LIMITS[step.width];
  return fits ? undefined : `${bus.kind} 0x${at.toString(16)}, ${step.width} bytes: ${value}`;
}

function msr({ cpu, table, board }: FakeMachine, step: Extract<Step, { known: boolean }>): string | undefined {
  const own = Object.keys(table.cpu.msrs);
  const index = step.known && own.length > 0 ? Number(own[step.index % own.length]) : step.index;
  const entry = table.cpu.msrs[index];
  const apic = board?.localApics[0];
  if (step.do === 'wrmsr') {
    const taken: unknown = entry
      ? (entry.write?.(cpu, step.value) ?? false)
      : (apic?.writeMsr(index, step.value) ?? false);
    return typeof taken === 'boolean' ? undefined : `wrmsr 0x${index.toString(16)}: ${taken}`;
  }
  const value: unknown = entry ? entry.read?.(cpu) : apic?.readMsr(index);
  const fits = value === undefined || (typeof value === 'bigint' && value >= 0n && value < 1n << 64n);
  return fits ? undefined : `rdmsr 0x${index.toString(16)}: ${value}`;
}

function perform(machine: FakeMachine, step: Step): string | undefined {
  const { cpu, table, board, context } = machine;
  switch (step.do) {
    case 'in':
    case 'out':
    case 'read':
    case 'write':
      return access(machine, step);
    case 'rdmsr':
    case 'wrmsr':
      return msr(machine, step);
    case 'cpuid': {
      if (typeof table.cpu.cpuid !== 'function') return undefined;
      const natively = () => ({ eax: 0xffffffff, ebx: 0xffffffff, ecx: 0xffffffff, edx: 0xffffffff });
      const answer = table.cpu.cpuid(cpu, step.leaf >>> 0, step.subleaf, natively) ?? natively();
      return Object.values(answer).every(isRegister) ? undefined : `cpuid ${step.leaf}: ${JSON.stringify(answer)}`;
    }
    case 'hypercall':
      if (typeof table.cpu.hypercall !== 'function') return undefined;
      for (const [index, register] of REGISTERS.entries()) cpu.set(register, step.registers[index]!);
      table.cpu.hypercall(cpu);
      return undefined;
    case 'store':
      cpu.memory.write64(step.address, step.value);
      return undefined;
    case 'pass':
      cpu.clock.advance(step.time);
      return undefined;
    case 'type':
      context.type(Uint8Array.of(step.value));
      return undefined;
    case 'interrupt': {
      const apic = board?.localApics[0];
      const vector = apic?.acknowledge() ?? -1;
      if (vector >= 0 && step.value) apic!.endOfInterrupt();
      return vector >= -1 && vector <= 0xff ? undefined : `interrupt ${vector}`;
    }
  }
}

export function devicesOf(module: HypervisorModule): Fuzzer {
  return caseFuzzer<readonly Step[]>({
    name: `devices-${module.name}`,
    description: `${STEPS} accesses of a hostile guest to the devices, registers and hypercalls of ${module.name}'s machine`,
    make: random => Array.from({ length: STEPS }, () => makeStep(random)),
    async judge(steps) {
      const machine = await fakeMachine(module);
      for (const step of steps) {
        const wrong = perform(machine, step);
        if (wrong !== undefined) return wrong;
        // A guest that was ended does nothing more; one that asked for its end may go on until it is heard.
        if (machine.cpu.kills.length > 0) break;
      }
      return machine.saveAndRestore();
    },
    *smaller(steps) {
      for (let size = steps.length >> 1; size > 0; size >>= 1)
        for (let at = 0; at < steps.length; at += size) yield [...steps.slice(0, at), ...steps.slice(at + size)];
    },
    show: steps =>
      steps
        .map(step =>
          JSON.stringify(step, (_, value) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value)),
        )
        .join('\n'),
  });
}

export const devices: readonly Fuzzer[] = hypervisors.filter(({ isRelative }) => !isRelative).map(devicesOf);
