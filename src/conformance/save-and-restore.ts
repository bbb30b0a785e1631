/**
 * The case that a hypervisor's state is data (src/state/): a machine in the midst of its work is saved, another one is
 * restored from that, and the two then answer a guest's every question alike.
 */
import * as assert from './assert.ts';
import { ARGUMENTS, callOp, FREE, hypercall, UNKNOWN_HYPERCALL } from './calls.ts';
import type { Fixture } from './fixture.ts';
import { createRandom } from './random.ts';

type Random = ReturnType<typeof createRandom>;

/** What the guest does before it is saved, and what both machines do afterwards. */
const ACTIONS = 400;

/**
 * Values that mean something to most registers and calls: pages that are free, enabled and not; small numbers; all
 * bits.
 */
const VALUES = [
  0n,
  1n,
  2n,
  FREE,
  FREE | 1n,
  FREE + 0x1000n,
  (FREE + 0x1000n) | 1n,
  FREE + 0x2001n,
  0x30n,
  2n ** 64n - 1n,
];

/** One thing that a guest or its time does, as `random` says. @returns what comes of it. */
function act(fixture: Fixture, random: Random): unknown {
  const { table, cpu } = fixture;
  const value = random.below(3) === 0 ? BigInt(random.below(1 << 20)) : random.of(VALUES);
  const indexes = Object.keys(table.cpu.msrs).map(Number);
  switch (random.below(7)) {
    case 0:
    case 1: {
      if (indexes.length === 0) return undefined;
      const index = random.of(indexes);
      return [index, value, table.cpu.msrs[index].write?.(cpu, value)];
    }
    case 2:
      cpu.clock.advance(random.of([1, 1000, 100_000, 1e6, 1e9]));
      return cpu.clock.now();
    case 3:
      return takeInterrupt(fixture, 0x20 + random.below(0xe0));
    case 4:
      if (typeof table.time.resumed === 'function') table.time.resumed(cpu, random.below(1e6));
      return undefined;
    case 5:
      cpu.tscOffset = value;
      if (typeof table.time.tscMoved === 'function') table.time.tscMoved(cpu);
      return undefined;
    default: {
      const numbers = Object.keys(table.cpu.hypercalls).map(BigInt);
      const number = random.below(8) === 0 || numbers.length === 0 ? UNKNOWN_HYPERCALL : random.of(numbers);
      const values = ARGUMENTS.map(() => random.of(VALUES));
      return callOp(table) && [number, hypercall(fixture, number, values)];
    }
  }
}

/** An interrupt of the local APIC, as the machine delivers one. @returns what is in service then. */
function takeInterrupt({ table, cpu }: Fixture, vector: number): unknown {
  const { irq } = table;
  if (typeof irq.catchUp === 'function') irq.catchUp(cpu);
  cpu.interrupts!.request(vector);
  if (typeof irq.deliver === 'function') return irq.deliver(cpu);
  const taken = cpu.interrupts!.acknowledge();
  if (taken >= 0 && typeof irq.delivered === 'function') irq.delivered(cpu, taken);
  return [...cpu.interrupts!.inService];
}

/** All that a guest can see, and what the hypervisor keeps. */
function pictureOf({ table, cpu }: Fixture): unknown {
  const registers = Object.entries(table.cpu.msrs).map(([index, msr]) => [index, msr.read?.(cpu)]);
  return { registers, processor: cpu.save(), states: cpu.states.save() };
}

export async function saveAndRestore(original: Fixture, again: () => Promise<Fixture>): Promise<void> {
  const random = createRandom(0x73617665n);
  for (let index = 0; index < ACTIONS; index++) act(original, random);

  const saved = structuredClone(original.cpu.states.save());
  assert.deepEqual(original.cpu.states.save(), saved, 'saving changes nothing');
  const restored = await again();
  restored.table.restoring?.();
  restored.cpu.restore(original.cpu, saved);
  restored.table.restored?.();
  assert.deepEqual(pictureOf(restored), pictureOf(original), 'after the restore');

  const [one, other] = [createRandom(0x676f6f6en), createRandom(0x676f6f6en)];
  for (let index = 0; index < ACTIONS; index++) {
    const expected = act(original, one);
    assert.deepEqual(act(restored, other), expected, `step ${index} after the restore`);
  }
  assert.deepEqual(pictureOf(restored), pictureOf(original), `${ACTIONS} steps after the restore`);
  const [bytes, expected] = [restored.cpu.memory.bytes, original.cpu.memory.bytes];
  const at = bytes.findIndex((byte, index) => byte !== expected[index]);
  assert.equal(at, -1, `guest memory differs from 0x${at.toString(16)} on`);
}
