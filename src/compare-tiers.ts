/**
 * `--engine both`: two machines with the same guest and the virtual clock, one on each tier, run side by side and compared at
 * every slice of instructions. The first difference ends the run and says where it lies.
 */

import type { Engine } from './engine/engine.ts';
import { findDifference } from './engine/x86/registers.ts';
import type { Exit } from './exits.ts';
import { backEndsOf } from './host/back-ends.ts';
import type { Machine, MachineOptions } from './machine/options.ts';

export interface Assembled {
  machine: Machine;
  engine: Engine;
}

/** Instructions between two comparisons of registers, and comparisons between two of all RAM. */
const SLICE = 50_000;
const RAM_EVERY = 200;

export async function compareTiers(
  options: MachineOptions,
  assemble: (options: MachineOptions) => Promise<Assembled>,
): Promise<Machine> {
  if (options.clock !== undefined && options.clock !== 'virtual')
    throw new Error('--engine both compares runs that repeat exactly: use it with --clock virtual');
  if (backEndsOf(options).disks.some(disk => !disk.readOnly))
    throw new Error('--engine both writes nothing twice: give disks as read-only');
  const shared: MachineOptions = { ...options, clock: 'virtual' };
  const second = await assemble({ ...shared, engine: 'jit' });
  const first = await assemble({ ...shared, engine: 'interpreter', console: { write: () => {}, onInput: () => {} } });
  const typed: Uint8Array[] = [];
  let stopping = false;

  async function run(limits: { timeout?: number; instructions?: number } = {}): Promise<Exit> {
    const deadline =
      limits.timeout === undefined ? Number.POSITIVE_INFINITY : performance.now() + limits.timeout * 1000;
    let left = limits.instructions ?? Number.POSITIVE_INFINITY;
    stopping = false;
    for (let slice = 1; left > 0; slice++) {
      for (const data of typed.splice(0)) for (const { machine } of [first, second]) machine.type(data);
      const from = second.engine.instructions;
      const instructions = Math.min(SLICE, left);
      left -= instructions;
      const [x, y] = [await first.machine.run({ instructions }), await second.machine.run({ instructions })];
      const difference = compare(first.engine, second.engine, slice % RAM_EVERY === 0);
      if (difference)
        return {
          kind: 'killed',
          reason: `the tiers differ between instructions ${from} and ${from + instructions}: ${difference}`,
        };
      if (x.kind !== y.kind) return { kind: 'killed', reason: `the tiers ended differently: ${x.kind} and ${y.kind}` };
      if (y.kind !== 'stopped') return y;
      if (stopping) return y;
      if (performance.now() > deadline) return { kind: 'timeout' };
    }
    return { kind: 'stopped' };
  }

  return {
    run,
    stop() {
      stopping = true;
    },
    type: text => void typed.push(typeof text === 'string' ? new TextEncoder().encode(text) : text),
    get statistics() {
      return second.machine.statistics;
    },
    get instructions() {
      return second.machine.instructions;
    },
    describe: () => second.machine.describe(),
    log: second.machine.log,
  };
}

/** What differs between two processors (interpreter, JIT) and their RAM; undefined if nothing does. */
function compare(first: Engine, second: Engine, ram: boolean): string | undefined {
  const [x, y] = [first.cpu, second.cpu];
  const hex = (value: bigint | number) => `0x${value.toString(16)}`;
  const differ = (name: string, p: bigint | number, q: bigint | number) =>
    `${name} is ${hex(p)} interpreted, ${hex(q)} translated (rip ${hex(x.rip)}, ${hex(y.rip)})`;
  if (first.instructions !== second.instructions)
    return differ('instructions', first.instructions, second.instructions);
  const found = findDifference(x, y);
  if (found) return differ(found.name, ...found.values);
  if (!ram) return undefined;
  const [p, q] = [first.memory.bytes, second.memory.bytes];
  const words = (bytes: Uint8Array) => new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  const [v, w] = [words(p), words(q)];
  for (let i = 0; i < v.length; i++) if (v[i] !== w[i]) return differ(`RAM at ${hex(i * 8)}`, v[i]!, w[i]!);
  return undefined;
}
