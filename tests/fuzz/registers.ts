/**
 * RDMSR, WRMSR and CPUID of a hostile guest on a whole machine: the processor's own registers, the hypervisor's and the local APIC's.
 * What is written either faults or is there; a register that can be read always can; nothing throws.
 */

import { parseKernel } from '../../src/boot/image.ts';
import { noFirmware } from '../../src/conformance/fake-processor.ts';
import { tinyKernel } from '../../src/conformance/tiny-elf.ts';
import { nativeMsrs } from '../../src/engine/x86/msrs.ts';
import { STATE, STATE_SIZE } from '../../src/engine/x86/state.ts';
import { hypervisors } from '../../src/hypervisors/list.ts';
import { connect, createEngine } from '../../src/machine/parts.ts';
import { caseFuzzer, type Fuzzer, type Random } from './fuzzer.ts';

/** Steps of one input. */
const STEPS = 500;
const MEMORY = 16 << 20;
const kernel = parseKernel(tinyKernel([0xf4, 0xeb, 0xfd]));

type Step = { do: 'rdmsr' | 'wrmsr'; index: number; value: bigint } | { do: 'cpuid'; leaf: number; subleaf: number };
interface Input {
  hypervisor: string;
  steps: readonly Step[];
}

const NATIVE = Object.keys(nativeMsrs).map(Number);
const AREAS = [
  0, 0x1b, 0x800, 0x820, 0x6e0, 0x40000000, 0x40000020, 0x40000080, 0x400000f0, 0x40000100, 0x4b564d00, 0xc0000000,
  0xc0010000,
];

function makeStep(random: Random): Step {
  if (random.below(5) === 0)
    return {
      do: 'cpuid',
      leaf: random.below(8)
        ? random.of([0, 0x40000000, 0x40000100, 0x80000000]) + random.below(0x20)
        : random.below(2 ** 32),
      subleaf: random.below(random.of([1, 8, 2 ** 32])),
    };
  const index = random.below(2)
    ? random.of(NATIVE)
    : random.below(12)
      ? random.of(AREAS) + random.below(64)
      : random.below(2 ** 32);
  const value = random.of([
    0n,
    1n,
    random.next64(),
    random.next64() & 0xffffn,
    1n << BigInt(random.below(64)),
    (1n << BigInt(random.below(64))) - 1n,
    (BigInt(random.below(8192)) << 12n) | BigInt(random.below(4)),
    0xffff800000000000n,
  ]);
  return { do: random.below(3) ? 'wrmsr' : 'rdmsr', index, value };
}

type Machine = Awaited<ReturnType<typeof makeMachine>>;
const machines = new Map<string, Machine>();

/** A machine is reused: each input begins with what it was when it was new. */
async function makeMachine(name: string) {
  const module = hypervisors.find(hypervisor => hypervisor.name === name)!;
  const options = { memory: MEMORY, engine: 'interpreter', console: { write() {}, onInput() {} } } as const;
  const engine = createEngine(options);
  const parts = connect(engine.core, options, module, { onTyping() {}, onTyped() {} });
  const { cpu, memory } = engine;
  const { load } = parts.table.boot;
  if (typeof load === 'function')
    load(
      { image: await kernel, initrd: undefined, natively: noFirmware, commandLine: '', memory, log: parts.log },
      parts.context,
    );
  const registers = cpu.bytes.slice(STATE, STATE + STATE_SIZE);
  const ram = memory.bytes.slice();
  const states = parts.states.save();
  return {
    environment: cpu.environment,
    reset() {
      cpu.bytes.set(registers, STATE);
      memory.bytes.set(ram);
      parts.board?.restoring();
      parts.states.restore(states);
      parts.board?.restored();
    },
    save: () => parts.states.save(),
  };
}

const isRegister = (value: unknown): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32;

function perform({ environment }: Machine, step: Step): string | undefined {
  if (step.do === 'cpuid') {
    const answer = environment.cpuid(step.leaf >>> 0, step.subleaf >>> 0);
    return Object.values(answer).every(isRegister) ? undefined : JSON.stringify(answer);
  }
  if (step.do === 'wrmsr') {
    const taken: unknown = environment.writeMsr(step.index, step.value);
    if (typeof taken !== 'boolean') return `is answered with ${taken}`;
  }
  const value: unknown = environment.readMsr(step.index);
  return value === undefined || (typeof value === 'bigint' && value >= 0n && value < 1n << 64n)
    ? undefined
    : `reads ${value}`;
}

const show = (step: Step): string =>
  JSON.stringify(step, (_, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value));

export const registers: Fuzzer = caseFuzzer<Input>({
  name: 'registers',
  description: `${STEPS} accesses to model-specific registers and CPUID leaves, under every hypervisor`,
  make: random => ({
    hypervisor: random.of(hypervisors).name,
    steps: Array.from({ length: STEPS }, () => makeStep(random)),
  }),
  async judge({ hypervisor, steps }) {
    let machine = machines.get(hypervisor);
    if (!machine) machines.set(hypervisor, (machine = await makeMachine(hypervisor)));
    machine.reset();
    for (const step of steps) {
      const wrong = perform(machine, step);
      if (wrong !== undefined) return `${show(step)} ${wrong}`;
    }
    machine.save();
    return undefined;
  },
  *smaller({ hypervisor, steps }) {
    for (let size = steps.length >> 1; size > 0; size >>= 1)
      for (let at = 0; at < steps.length; at += size)
        yield { hypervisor, steps: [...steps.slice(0, at), ...steps.slice(at + size)] };
  },
  show: ({ hypervisor, steps }) => `${hypervisor}:\n${steps.map(show).join('\n')}`,
});
