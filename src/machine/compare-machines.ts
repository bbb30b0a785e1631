/**
 * Two machines with the same guest that run side by side and are compared at every slice of instructions, as one machine: the
 * first difference ends its run and says where it lies. Both must repeat exactly, so they count instructions for time.
 */
import type { Engine } from '../engine/engine.ts';
import type { Vcpu } from '../engine/vcpu.ts';
import { findDifference } from '../engine/x86/registers.ts';
import type { Exit } from '../exits.ts';
import { machineOf } from './controls.ts';
import type { Machine, RunLimits } from './options.ts';

export interface Assembled {
  machine: Machine;
  engine: Engine;
}

/** Instructions between two comparisons, and comparisons between two that look at all RAM. */
const SLICE = 50_000;
const RAM_EVERY = 200;

export interface Comparison {
  /** What the two machines are, in messages: `the tiers`. */
  what: string;
  /** The first thing in which the machines differ, in words; undefined if there is none. @param ram true: look at all RAM */
  difference(reference: Engine, subject: Engine, ram: boolean): string | undefined;
}

/**
 * @param reference runs first, and shows nothing
 * @param subject has the console, and what the comparison shows is this machine's
 */
export function compareMachines(reference: Assembled, subject: Assembled, { what, difference }: Comparison): Machine {
  /** What happens to both before the next slice. */
  const events: ((machine: Machine) => void)[] = [];
  let stopping = false;

  /** Runs both for one slice. @returns why the run ends; undefined if it goes on */
  async function slice(instructions: number, ram: boolean): Promise<Exit | undefined> {
    for (const event of events.splice(0)) for (const { machine } of [reference, subject]) event(machine);
    const from = subject.machine.instructions;
    const expected = await reference.machine.run({ instructions });
    const exit = await subject.machine.run({ instructions });
    const found = difference(reference.engine, subject.engine, ram);
    if (found)
      return {
        kind: 'killed',
        reason: `${what} differ between instructions ${from} and ${from + instructions}: ${found}`,
      };
    if (expected.kind !== exit.kind)
      return { kind: 'killed', reason: `${what} ended differently: ${expected.kind} and ${exit.kind}` };
    return exit.kind === 'stopped' ? undefined : exit;
  }

  async function run({
    timeout = Number.POSITIVE_INFINITY,
    instructions = Number.POSITIVE_INFINITY,
  }: RunLimits): Promise<Exit> {
    const deadline = performance.now() + timeout * 1000;
    stopping = false;
    for (let count = 1, left = instructions; left > 0; count++, left -= SLICE) {
      const exit = await slice(Math.min(SLICE, left), count % RAM_EVERY === 0);
      if (exit) return exit;
      if (stopping) break;
      if (performance.now() > deadline) return { kind: 'timeout' };
    }
    return { kind: 'stopped' };
  }

  const { machine } = subject;
  return machineOf({
    run,
    stop() {
      stopping = true;
    },
    request: what => void events.push(machine => machine.request(what)),
    type: data => void events.push(machine => machine.type(data)),
    statistics: () => machine.statistics,
    instructions: () => machine.instructions,
    describe: () => machine.describe(),
    log: machine.log,
  });
}

/**
 * What differs between two machines: registers, whose turn it is, RAM; undefined if nothing does.
 * @param are what they are, after a value: `interpreted`, `translated`
 */
export const differenceOf =
  (are: readonly [string, string]): Comparison['difference'] =>
  (first, second, ram) => {
    const many = first.core.vcpus.length > 1;
    for (const [index, one] of first.core.vcpus.entries()) {
      const found = compareProcessors(one, second.core.vcpus[index]!, are);
      if (found) return many ? `processor ${index}: ${found}` : found;
    }
    if (first.core.running.index !== second.core.running.index)
      return `processor ${first.core.running.index} has the turn ${are[0]}, ${second.core.running.index} ${are[1]}`;
    return ram ? compareMemory(first, second, are) : undefined;
  };

const hex = (value: bigint | number) => `0x${value.toString(16)}`;
const differ = (name: string, p: bigint | number, q: bigint | number, [one, other]: readonly [string, string]) =>
  `${name} is ${hex(p)} ${one}, ${hex(q)} ${other}`;

function compareProcessors(first: Vcpu, second: Vcpu, are: readonly [string, string]): string | undefined {
  const [x, y] = [first.cpu, second.cpu];
  const where = ` (rip ${hex(x.rip)}, ${hex(y.rip)})`;
  if (first.instructions !== second.instructions)
    return `${differ('instructions', first.instructions, second.instructions, are)}${where}`;
  const found = findDifference(x, y);
  return found && `${differ(found.name, ...found.values, are)}${where}`;
}

function compareMemory(first: Engine, second: Engine, are: readonly [string, string]): string | undefined {
  const [p, q] = [first.memory.bytes, second.memory.bytes];
  const words = (bytes: Uint8Array) => new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  const [v, w] = [words(p), words(q)];
  for (let i = 0; i < v.length; i++) if (v[i] !== w[i]) return differ(`RAM at ${hex(i * 8)}`, v[i]!, w[i]!, are);
  return undefined;
}
