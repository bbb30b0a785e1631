/** `--engine both`: two machines with the same guest, one on each tier, that are compared as they run. */

import type { Engine } from './engine/engine.ts';
import type { Vcpu } from './engine/vcpu.ts';
import { findDifference } from './engine/x86/registers.ts';
import { backEndsOf } from './host/back-ends.ts';
import { type Assembled, compareMachines } from './machine/compare-machines.ts';
import type { Machine, MachineOptions } from './machine/options.ts';

export async function compareTiers(
  options: MachineOptions,
  assemble: (options: MachineOptions) => Promise<Assembled>,
): Promise<Machine> {
  if (options.clock !== undefined && options.clock !== 'virtual')
    throw new Error('--engine both compares runs that repeat exactly: use it with --clock virtual');
  if (backEndsOf(options).disks.some(disk => !disk.readOnly))
    throw new Error('--engine both writes nothing twice: give disks as read-only');
  if (backEndsOf(options).networks.length > 0)
    throw new Error('--engine both sends nothing twice: give it no networks');
  const shared: MachineOptions = { ...options, clock: 'virtual' };
  const translated = await assemble({ ...shared, engine: 'jit' });
  const interpreted = await assemble({
    ...shared,
    engine: 'interpreter',
    console: { write: () => {}, onInput: () => {} },
  });
  return compareMachines(interpreted, translated, { what: 'the tiers', difference: compare });
}

/** What differs between two machines (interpreter, JIT): a processor or RAM; undefined if nothing does. */
function compare(first: Engine, second: Engine, ram: boolean): string | undefined {
  const many = first.core.vcpus.length > 1;
  for (const [index, one] of first.core.vcpus.entries()) {
    const found = compareProcessors(one, second.core.vcpus[index]!);
    if (found) return many ? `processor ${index}: ${found}` : found;
  }
  if (first.core.running.index !== second.core.running.index)
    return `processor ${first.core.running.index} has the turn interpreted, ${second.core.running.index} translated`;
  return ram ? compareMemory(first, second) : undefined;
}
const hex = (value: bigint | number) => `0x${value.toString(16)}`;
const differ = (name: string, p: bigint | number, q: bigint | number, where = '') =>
  `${name} is ${hex(p)} interpreted, ${hex(q)} translated${where}`;
function compareProcessors(first: Vcpu, second: Vcpu): string | undefined {
  const [x, y] = [first.cpu, second.cpu];
  const where = ` (rip ${hex(x.rip)}, ${hex(y.rip)})`;
  if (first.instructions !== second.instructions)
    return differ('instructions', first.instructions, second.instructions, where);
  const found = findDifference(x, y);
  return found && differ(found.name, ...found.values, where);
}
function compareMemory(first: Engine, second: Engine): string | undefined {
  const [p, q] = [first.memory.bytes, second.memory.bytes];
  const words = (bytes: Uint8Array) => new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  const [v, w] = [words(p), words(q)];
  for (let i = 0; i < v.length; i++) if (v[i] !== w[i]) return differ(`RAM at ${hex(i * 8)}`, v[i]!, w[i]!);
  return undefined;
}
