/** What is recorded is done again: with both clocks, under either tier; and where it is not, that is said. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { portableClock } from '../host/portable-clock.ts';
import { assemble } from '../machine/machine.ts';
import type { MachineOptions } from '../machine/options.ts';
import { createTimeline } from '../machine/timeline.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { type Door, Player, Recorder } from './door.ts';
import { Divergence } from './journal.ts';

const MEMORY = 16 << 20;
const ANSWERS = 0x800000;
const u32 = (value: number) => [0, 8, 16, 24].map(shift => (value >>> shift) & 0xff);

/** Mixes in the time, random numbers and what is typed (COM1), writes a character; until a q is typed. */
const LOOP = [
  ...[0xb9, ...u32(2000), 0x0f, 0x31, 0x31, 0x05, ...u32(ANSWERS), 0x0f, 0xc7, 0xf0, 0x01, 0x05, ...u32(ANSWERS + 4)],
  ...[0xff, 0xc9, 0x75, 0x100 - 19], // dec ecx; jnz rdtsc
  ...[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0x0c], // in al, LSR; test al, 1; jz
  ...[0x66, 0xba, 0xf8, 0x03, 0xec, 0x00, 0x05, ...u32(ANSWERS + 8), 0x90], // in al, RBR; add [], al
  ...[0x3c, 0x71], // cmp al, q
];
const KERNEL = tinyKernel([...LOOP, 0x0f, 0x85, ...u32(-(LOOP.length + 6)), 0xf4]);

interface Outcome {
  kind: string;
  reason: string | undefined;
  answers: Uint8Array;
  instructions: number;
}

/** @param pause between two that are typed, in ms; 0: two letters are typed before the run */
async function run(options: Partial<MachineOptions>, door: Door, pause = 40): Promise<Outcome> {
  const { machine, engine } = await assemble({ memory: MEMORY, ...options, door });
  if (door instanceof Recorder && pause === 0) machine.type('aq');
  else if (door instanceof Recorder)
    for (const [index, text] of ['a', 'bc', 'd', 'q'].entries())
      setTimeout(() => machine.type(text), pause * (index + 1));
  const exit = await machine.run();
  const reason = 'reason' in exit ? exit.reason : undefined;
  return { kind: exit.kind, reason, answers: engine.memory.copyOut(ANSWERS, 12), instructions: machine.instructions };
}
async function record(clock: MachineOptions['clock'], pause?: number) {
  const first = await assemble({ memory: MEMORY, kernel: KERNEL, engine: 'interpreter', clock });
  const options: Partial<MachineOptions> = { clock, snapshot: first.machine.snapshot() };
  const pieces: Uint8Array[] = [];
  const recorded = await run(options, new Recorder(bytes => pieces.push(bytes)), pause);
  return { options, recorded, journal: Buffer.concat(pieces) };
}

for (const clock of ['virtual', portableClock] as const)
  test(`${clock === 'virtual' ? 'virtual' : "a host's"} clock: what was typed, read and drawn comes again`, async () => {
    const { options, recorded, journal } = await record(clock);
    assert.equal(recorded.kind, 'dead-halt', recorded.reason);
    assert.notEqual(recorded.answers[8], 0);
    for (const engine of ['interpreter', 'jit'] as const)
      assert.deepEqual(await run({ ...options, engine }, new Player(journal)), recorded, engine);
    const changed = Uint8Array.from(journal);
    changed[changed.length >> 1]! ^= 0x55;
    const other = await run(options, new Player(changed));
    // Not every reading of a clock matters.
    if (other.kind === 'killed') assert.match(other.reason ?? '', /recording/);
    const short = await run(options, new Player(journal.subarray(0, journal.length >> 1)));
    assert.ok(short.kind === 'stopped' || /cut short|differs/.test(short.reason ?? ''), short.reason);
  });

test('whatever a journal says, the run ends with a reason', async () => {
  const { options, journal } = await record(portableClock, 0);
  let seed = 20;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  const kinds = new Map<string, number>();
  for (let round = 0; round < 30; round++) {
    const changed = Uint8Array.from(journal.subarray(0, 1 + random(4000)));
    for (let count = random(4); count >= 0; count--) changed[random(changed.length)] = random(256);
    let how: string;
    try {
      const { machine } = await assemble({
        memory: MEMORY,
        ...options,
        engine: 'interpreter',
        door: new Player(changed),
      });
      const exit = await machine.run({ instructions: 1_000_000 });
      how = exit.kind;
      if (exit.kind === 'killed') assert.match(exit.reason, /recording/);
    } catch (error) {
      assert.ok(error instanceof Divergence || error instanceof SnapshotError, String(error));
      how = 'refused';
    }
    kinds.set(how, (kinds.get(how) ?? 0) + 1);
  }
  assert.ok(kinds.get('killed')! > 5, JSON.stringify([...kinds]));
});

for (const clock of ['virtual', portableClock] as const)
  test(`${clock === 'virtual' ? 'virtual' : "a host's"} clock: a recording goes back to any place, and from there to its end`, async () => {
    const { options, recorded, journal } = await record(clock, 0);
    const machine = await createTimeline({ memory: MEMORY, ...options }, journal);
    const target = machine.debug();
    const history = target.history!;
    const here = () => [machine.instructions, machine.describe(), ...target.readMemory(0, BigInt(ANSWERS), 12)];
    history.keep(true);
    // What has been typed is added up there.
    const watched = [{ kind: 'write', address: BigInt(ANSWERS + 8), length: 1 }] as const;
    target.setBreakpoints(new Set(), watched);
    const places: unknown[][] = [];
    const stops: number[] = [];
    for (let letters = 0; letters < 2; letters++) {
      assert.equal((await machine.run()).kind, 'stopped');
      assert.equal(target.takeStop()?.kind, 'watchpoint');
      stops.push(machine.instructions);
      for (let steps = 0; steps < 3; steps++) {
        places.push(here());
        await machine.run({ instructions: 1 });
      }
    }
    const isEnd = async () => {
      target.setBreakpoints(new Set(), []);
      assert.equal((await machine.run()).kind, recorded.kind);
      assert.ok(history.isOver);
      assert.equal(machine.instructions, recorded.instructions);
      assert.deepEqual(target.readMemory(0, BigInt(ANSWERS), 12), recorded.answers);
    };
    await isEnd();
    const rip = target.registers.findIndex(({ name }) => name === 'rip');
    assert.equal(target.writeRegister(0, rip, new Uint8Array(8)), false, 'what is repeated is not changed');
    target.setBreakpoints(new Set(), watched);
    for (const stop of stops.reverse()) {
      assert.equal(await history.back('continue'), 'stopped');
      assert.equal(machine.instructions, stop - 1);
      for (let steps = 1; steps <= 3; steps++) await machine.run({ instructions: 1 });
      const next = places.pop();
      assert.deepEqual(here(), next);
      for (let steps = 1; steps <= 2; steps++) {
        assert.equal(await history.back('step'), 'stopped');
        assert.deepEqual(here(), places.pop());
      }
      await history.back('step');
    }
    assert.equal(await history.back('continue'), 'beginning');
    await isEnd();
  });

/** Writes 5,000 characters, with the time between them. */
const WRITER = tinyKernel([
  ...[0xb9, ...u32(5000), 0x66, 0xba, 0xf8, 0x03], // mov ecx, 5000; mov dx, COM1
  ...[0x0f, 0x31, 0x31, 0x05, ...u32(ANSWERS), 0x66, 0xba, 0xf8, 0x03, 0x0c, 0x40, 0xee], // rdtsc; xor [], eax; mov dx, COM1; or al, 64; out dx, al
  ...[0xff, 0xc9, 0x75, 0x100 - 19, 0xf4], // dec ecx; jnz; hlt
]);

test('a replay that is stopped now and then is the same run', async () => {
  const first = await assemble({ memory: MEMORY, kernel: WRITER, engine: 'interpreter', clock: portableClock });
  const options: Partial<MachineOptions> = { clock: portableClock, snapshot: first.machine.snapshot() };
  const pieces: Uint8Array[] = [];
  const recorded = await run(options, new Recorder(bytes => pieces.push(bytes)), 0);
  const journal = Buffer.concat(pieces);
  for (const leg of [7, 331]) {
    const { machine, engine } = await assemble({ memory: MEMORY, ...options, door: new Player(journal) });
    let exit = await machine.run({ instructions: leg });
    while (exit.kind === 'stopped') exit = await machine.run({ instructions: leg });
    const { kind, answers, instructions } = recorded;
    assert.deepEqual(
      [exit, engine.memory.copyOut(ANSWERS, 12), machine.instructions],
      [{ kind }, answers, instructions],
    );
  }
});
