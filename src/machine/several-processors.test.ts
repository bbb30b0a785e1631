/** Machines with several processors, whose guests are a few instructions: starting, turns, time, and what all of them share. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KERNEL_ADDRESS, tinyKernel } from '../conformance/tiny-elf.ts';
import { portableClock } from '../host/portable-clock.ts';
import { bareTable } from '../hypervisors/bare/index.ts';
import { derive } from '../paravirt/derive.ts';
import type { HypervisorModule } from '../paravirt/operations.ts';
import { assemble } from './machine.ts';
import type { MachineOptions } from './options.ts';

const MEMORY = 16 << 20;
/** Where another processor starts, in real mode: the vector of its start-up message is 8. */
const START = 0x8000;
/** What the processors share: 64 KiB below belong to the segment in which a processor starts, from START on. */
const SHARED = 0x9000;
const [FLAG, LOCK, LATEST, WARPS] = [SHARED, SHARED + 4, SHARED + 8, SHARED + 12];

const u16 = (value: number) => [value & 0xff, (value >> 8) & 0xff];
const u32 = (value: number) => [...u16(value), ...u16(value >>> 16)];
const writeApic = (offset: number, value: number) => [0xc7, 0x05, ...u32(0xfee00000 + offset), ...u32(value)];
const sendTo = (id: number, command: number) => [...writeApic(0x310, id << 24), ...writeApic(0x300, command)];
const [INIT, START_UP] = [0x4500, 0x4600 | (START >> 12)];
const START_OTHER = [...sendTo(1, INIT), ...sendTo(1, START_UP)];
const [CLI, HLT, PAUSE] = [0xfa, 0xf4, [0xf3, 0x90]];
const STOP = [CLI, HLT];
/** mov ds, cs, by AX: the segment then begins at START. */
const OWN_SEGMENT = [0x8c, 0xc8, 0x8e, 0xd8];
/** mov word [FLAG], 1 */
const RAISE_FLAG = [0xc7, 0x06, ...u16(FLAG - START), 1, 0];
/** Until the flag is not 0: cmp dword [FLAG], 0; jne out; pause; jmp again */
const AWAIT_FLAG = [0x83, 0x3d, ...u32(FLAG), 0, 0x75, 0x04, ...PAUSE, 0xeb, 0xf3];
/** mov ecx, count; dec ecx; jnz: two instructions a turn. */
const loop32 = (count: number) => [0xb9, ...u32(count), 0x49, 0x75, 0xfd];
const loop16 = (count: number) => [0x66, 0xb9, ...u32(count), 0x66, 0x49, 0x75, 0xfc];

interface Guest {
  /** 32-bit code of the bootstrap processor, and 16-bit code of the other one. */
  first: readonly number[];
  second: readonly number[];
}

async function start({ first, second }: Guest, options: Partial<MachineOptions> = {}) {
  const assembled = await assemble({ kernel: tinyKernel([...first]), memory: MEMORY, cpus: 2, ...options });
  assembled.engine.memory.copyIn(START, Uint8Array.from(second));
  return assembled;
}

test('INIT and a start-up message start a processor in real mode; without INIT the message is for nobody', async () => {
  const second = [...OWN_SEGMENT, ...RAISE_FLAG, ...STOP];
  for (const messages of [START_OTHER, [...START_OTHER, ...sendTo(1, START_UP)]]) {
    const { machine, engine } = await start({ first: [...messages, ...AWAIT_FLAG, ...STOP], second });
    assert.deepEqual(await machine.run({ instructions: 1_000_000 }), { kind: 'dead-halt' });
    assert.equal(engine.memory.read16(FLAG), 1);
    assert.equal(engine.core.vcpus[1]!.instructions, 5);
  }
  const again = [...START_OTHER, ...AWAIT_FLAG, ...loop32(1000), ...sendTo(1, START_UP), ...loop32(1000), ...STOP];
  const { machine, engine } = await start({ first: again, second });
  assert.deepEqual(await machine.run({ instructions: 1_000_000 }), { kind: 'dead-halt' });
  assert.equal(engine.core.vcpus[1]!.instructions, 5, 'a halted processor does not wait to be started');
});

test('INIT leaves a processor waiting, with its state as after a reset but for what survives', async () => {
  const second = [...OWN_SEGMENT, ...RAISE_FLAG, 0xeb, 0xfe]; // jmp to itself
  const first = [...START_OTHER, ...AWAIT_FLAG, ...sendTo(1, INIT), ...loop32(100), ...STOP];
  const { machine, engine } = await start({ first, second });
  assert.deepEqual(await machine.run({ instructions: 10_000_000 }), { kind: 'dead-halt' });
  const [, other] = engine.core.vcpus;
  assert.equal(other!.waitsForStart, true);
  assert.equal(other!.cpu.rip, 0n);
  assert.match(machine.describe(), /processor 0:.*processor 1:.*waits to be started/s);
});

describe('time', () => {
  const work = 500_000;
  const guest = {
    first: [...START_OTHER, ...AWAIT_FLAG, ...loop32(work), ...STOP],
    second: [...OWN_SEGMENT, ...RAISE_FLAG, ...loop16(work), ...STOP],
  };

  test('goes on as if processors ran side by side', async () => {
    const { machine } = await start(guest);
    assert.deepEqual(await machine.run({ instructions: 10_000_000 }), { kind: 'dead-halt' });
    const { guestTime, instructions } = machine.statistics;
    assert.ok(instructions > 4 * work, `${instructions}`);
    // A round or two in which the other one was not there yet.
    assert.ok(guestTime > 2 * work && guestTime < 2 * work + 60_000, `${guestTime}`);

    const { processors, exits } = machine.statistics;
    assert.equal(processors[0]!.instructions + processors[1]!.instructions, instructions);
    for (const { instructions, ranTime, turns } of processors) {
      // Pauses, in which the first one awaits the flag, take time.
      assert.ok(ranTime >= instructions && ranTime < instructions + 60_000, `${ranTime} for ${instructions}`);
      assert.ok(turns > 10 && turns < 1000, `${turns}`);
    }
    assert.deepEqual(
      processors.map(({ ipis }) => ipis),
      [0, 2],
      'INIT and the start-up message',
    );
    assert.deepEqual(exits, { 'mmio write': 4, halt: 2 });
    assert.deepEqual(
      processors.map(({ exits }) => exits),
      [{ 'mmio write': 4, halt: 1 }, { halt: 1 }],
    );
  });

  test('does not depend on where a run is interrupted', async () => {
    const whole = await start(guest);
    await whole.machine.run();
    const pieces = await start(guest);
    while ((await pieces.machine.run({ instructions: 777 })).kind === 'stopped');
    assert.deepEqual(pieces.machine.statistics.guestTime, whole.machine.statistics.guestTime);
    assert.equal(pieces.machine.instructions, whole.machine.instructions);
  });

  test('that the host takes is missing once: to whoever had the turn, or to those that awaited theirs', async () => {
    let now = 0;
    let looks = 0;
    // A host that is away for 20 ms now and then.
    const clock = { ...portableClock, wall: () => 0n, now: () => (now += ++looks % 50 ? 20_000 : 20_000_000) };
    const { machine } = await start(guest, { clock });
    assert.deepEqual(await machine.run({ instructions: 10_000_000 }), { kind: 'dead-halt' });
    const { processors, guestTime, stolenTime } = machine.statistics;
    assert.ok(stolenTime > 20_000_000, `${stolenTime}`);
    const waited = processors.reduce((sum, { waitedTime }) => sum + waitedTime, 0);
    assert.ok(
      waited >= stolenTime && waited <= 2 * guestTime + stolenTime,
      `${waited} of ${guestTime}, ${stolenTime} taken`,
    );
  });

  test('leaps by little for those who wait, however slow the host is', async () => {
    let executed = () => 0;
    // 40 ns an instruction.
    const clock = { ...portableClock, wall: () => 0n, now: () => 40 * executed() };
    const { machine } = await start(guest, { clock });
    executed = () => machine.instructions;
    assert.deepEqual(await machine.run({ instructions: 10_000_000 }), { kind: 'dead-halt' });
    for (const { instructions, turns } of machine.statistics.processors) {
      const round = (2 * 40 * instructions) / turns;
      assert.ok(round > 100_000 && round < 500_000, `${round} ns a round`);
    }
  });

  describe('while one works and the other spins', () => {
    const turning = {
      first: [...START_OTHER, ...AWAIT_FLAG, ...STOP],
      second: [...OWN_SEGMENT, ...loop16(work), ...RAISE_FLAG, ...STOP],
    };

    test('the one that spins has a few turns a round', async () => {
      const { machine } = await start(turning);
      assert.deepEqual(await machine.run({ instructions: 10_000_000 }), { kind: 'dead-halt' });
      const [spins, works] = machine.statistics.processors;
      assert.ok(spins!.turns < 3 * works!.turns, `${spins!.turns} and ${works!.turns}`);
      assert.ok(machine.statistics.guestTime < 2 * work + 60_000, `${machine.statistics.guestTime}`);
    });

    test('rounds do not shrink by what the turns of the other one cost', async () => {
      let executed = (_processor: number) => 0;
      // 20 ns an instruction of the one that works, and 4 µs one of the other: a turn of his has four or five.
      const now = () => 20 * executed(1) + 4000 * executed(0);
      const { machine, engine } = await start(turning, { clock: { ...portableClock, wall: () => 0n, now } });
      executed = processor => engine.core.vcpus[processor]!.instructions;
      assert.deepEqual(await machine.run({ instructions: 10_000_000 }), { kind: 'dead-halt' });
      const [, works] = machine.statistics.processors;
      assert.ok(works!.instructions / works!.turns > 8000, `${works!.turns} turns`);
    });
  });

  /** Each takes the lock, reads the time, and counts if it is less than the latest that anybody has read. */
  const ROUNDS = 2000;
  const checks = {
    // again: mov eax, 1; xchg [LOCK], eax; test eax, eax; jz got; pause; jmp again
    // got: rdtsc; cmp eax, [LATEST]; jae fine; inc dword [WARPS]; fine: mov [LATEST], eax; mov dword [LOCK], 0
    // dec ecx; jnz again
    first: [
      ...[...START_OTHER, ...AWAIT_FLAG, 0xb9, ...u32(ROUNDS)],
      ...[0xb8, ...u32(1), 0x87, 0x05, ...u32(LOCK), 0x85, 0xc0, 0x74, 0x04, ...PAUSE, 0xeb, 0xed],
      ...[0x0f, 0x31, 0x3b, 0x05, ...u32(LATEST), 0x73, 0x06, 0xff, 0x05, ...u32(WARPS), 0xa3, ...u32(LATEST)],
      ...[0xc7, 0x05, ...u32(LOCK), ...u32(0), 0x49, 0x75, 0xca, ...STOP],
    ],
    second: [
      ...[...OWN_SEGMENT, ...RAISE_FLAG, 0xb9, ...u16(ROUNDS)],
      ...[0x66, 0xb8, ...u32(1), 0x66, 0x87, 0x06, ...u16(LOCK - START), 0x66, 0x85, 0xc0, 0x74, 0x04, ...PAUSE],
      ...[0xeb, 0xec, 0x0f, 0x31, 0x66, 0x3b, 0x06, ...u16(LATEST - START), 0x73, 0x05, 0x66, 0xff, 0x06],
      ...[...u16(WARPS - START), 0x66, 0xa3, ...u16(LATEST - START)],
      ...[0x66, 0xc7, 0x06, ...u16(LOCK - START), ...u32(0), 0x49, 0x75, 0xca, ...STOP],
    ],
  };

  for (const schedule of ['fair', 1, 2, 3] as const)
    test(`never runs back, whoever reads it (schedule ${schedule})`, async () => {
      const { machine, engine } = await start(checks, { schedule });
      assert.deepEqual(await machine.run({ instructions: 10_000_000 }), { kind: 'dead-halt' });
      assert.equal(engine.memory.read32(WARPS), 0);
      assert.ok(engine.memory.read32(LATEST) > 10_000);
    });

  test('a schedule repeats itself, and another one is another', async () => {
    const runs: string[] = [];
    for (const schedule of [1, 1, 2]) {
      const { machine, engine } = await start(checks, { schedule });
      await machine.run();
      const each = engine.core.vcpus.map(({ instructions }) => instructions);
      runs.push(`${each} in ${machine.statistics.guestTime}`);
    }
    assert.equal(runs[0], runs[1]);
    assert.notEqual(runs[0], runs[2]);
  });
});

test('a machine that goes on from a snapshot ends like one that was not stopped', async () => {
  const guest = {
    first: [...START_OTHER, ...AWAIT_FLAG, ...loop32(100_000), ...STOP],
    second: [...OWN_SEGMENT, ...RAISE_FLAG, ...loop16(100_000), ...STOP],
  };
  const whole = await start(guest, { schedule: 5 });
  await whole.machine.run();
  const first = await start(guest, { schedule: 5 });
  await first.machine.run({ instructions: 123_457 });
  const snapshot = first.machine.snapshot();
  const second = await assemble({ snapshot, memory: MEMORY, cpus: 2, schedule: 5 });
  await second.machine.run();
  assert.equal(second.machine.statistics.guestTime, whole.machine.statistics.guestTime);
  assert.equal(second.machine.instructions, whole.machine.instructions);
});

test('code that another processor writes is executed as it was written', async () => {
  // again: call FUNCTION; cmp eax, 2; jne again. FUNCTION, a page further: mov eax, 1; ret
  const FUNCTION = 0xa000;
  const first = [...START_OTHER, 0xb8, ...u32(FUNCTION), 0xff, 0xd0, 0x83, 0xf8, 2, 0x75, 0xf4, ...STOP];
  const second = [...OWN_SEGMENT, ...loop16(300_000), 0xc6, 0x06, ...u16(FUNCTION + 1 - START), 2, ...STOP];
  for (const engineName of ['interpreter', 'jit'] as const) {
    const { machine, engine } = await start({ first, second }, { engine: engineName });
    engine.memory.copyIn(FUNCTION, Uint8Array.from([0xb8, ...u32(1), 0xc3]));
    engine.cpu.setGpr(4, 0xb000n);
    assert.deepEqual(await machine.run({ instructions: 10_000_000 }), { kind: 'dead-halt' }, engineName);
  }
});

test('a processor that shuts down ends the run, and is named', async () => {
  // lidt [bx+si]: whatever is there; int3. A limit of 0 makes every exception a fault.
  const second = [...OWN_SEGMENT, 0x0f, 0x01, 0x1e, ...u16(FLAG - START), 0xcc];
  const { machine } = await start({ first: [...START_OTHER, 0xeb, 0xfe], second });
  const exit = await machine.run({ instructions: 10_000_000 });
  assert.equal(exit.kind, 'triple-fault');
  assert.match((exit as { reason: string }).reason, /^processor 1: /);
});

test('processors that all spin with interrupts off are stopped by the time limit, and each one says where it is', async () => {
  const startAll = [...writeApic(0x300, 0xc4500), ...writeApic(0x300, 0xc4600 | (START >> 12))]; // all but itself
  const { machine } = await start(
    { first: [...startAll, ...PAUSE, 0xeb, 0xfc], second: [...PAUSE, 0xeb, 0xfc] },
    { cpus: 4 },
  );
  assert.deepEqual(await machine.run({ instructions: 100_000 }), { kind: 'stopped' });
  assert.deepEqual(await machine.run({ timeout: 0.1 }), { kind: 'timeout' });
  const places = [...machine.describe().matchAll(/^processor (\d):.*?^ rip ([0-9a-f]{16})/gms)];
  assert.deepEqual(
    places.map(([, processor]) => processor),
    ['0', '1', '2', '3'],
  );
  const [first, ...others] = places.map(([, , rip]) => Number.parseInt(rip!, 16));
  assert.ok(first! >= KERNEL_ADDRESS + startAll.length && first! < KERNEL_ADDRESS + startAll.length + 4);
  for (const rip of others) assert.ok(rip < 4, `${rip}: relative to the segment`);
});

describe('bad messages', () => {
  const FOR_EVER = [0xeb, 0xfe];
  /** mov [ICR], command; jmp again */
  const send = (command: number) => writeApic(0x300, command);
  const storm = (...commands: number[]) => {
    const sends = commands.flatMap(send);
    return [...sends, 0xeb, -(sends.length + 2) & 0xff];
  };
  const ALL_BUT_ITSELF = 3 << 18;
  const TICKS = SHARED + 32;

  test('an NMI at every other instruction leaves the processor its time', async () => {
    // inc dword [FLAG]; jmp again. At 0x40 the handler: inc dword [TICKS]; iret
    const second = [...OWN_SEGMENT, 0x66, 0xff, 0x06, ...u16(FLAG - START), 0xeb, 0xf9];
    const { machine, engine } = await start({ first: [...START_OTHER, ...storm(ALL_BUT_ITSELF | 0x4400)], second });
    engine.memory.copyIn(START + 0x40, Uint8Array.from([0x66, 0xff, 0x06, ...u16(TICKS - START), 0xcf]));
    engine.memory.copyIn(4 * 2, Uint8Array.from([...u16(0x40), ...u16(START >> 4)]));
    engine.core.vcpus[1]!.cpu.setGpr(4, 0x4000n);
    assert.deepEqual(await machine.run({ instructions: 400_000 }), { kind: 'stopped' });
    assert.ok(engine.memory.read32(TICKS) > 1, `${engine.memory.read32(TICKS)} NMIs`);
    assert.ok(engine.memory.read32(FLAG) > 50_000, `${engine.memory.read32(FLAG)} turns of its loop`);
    for (const { instructions } of engine.core.vcpus) assert.ok(instructions > 150_000, `${instructions}`);
  });

  test('a processor that is started again and again', async () => {
    const first = storm(ALL_BUT_ITSELF | 0x4500, ALL_BUT_ITSELF | START_UP, ALL_BUT_ITSELF | START_UP);
    const second = [...OWN_SEGMENT, 0x66, 0xff, 0x06, ...u16(FLAG - START), ...FOR_EVER];
    const { machine, engine } = await start({ first, second }, { schedule: 1 });
    assert.deepEqual(await machine.run({ instructions: 200_000 }), { kind: 'stopped' });
    assert.ok(engine.memory.read32(FLAG) > 0, 'it was under way now and then');
    const many = await start({ first, second }, { cpus: 64 });
    assert.deepEqual(await many.machine.run({ timeout: 0.1 }), { kind: 'timeout' });
  });

  test('interrupts to itself that it never takes', async () => {
    const vectors = Array.from({ length: 256 }, (_, vector) => send((1 << 18) | 0x4000 | vector)).flat();
    const { machine } = await start({ first: [...writeApic(0xf0, 0x1ff), CLI, ...vectors, HLT], second: [] });
    assert.deepEqual(await machine.run({ instructions: 1_000_000 }), { kind: 'dead-halt' });
  });

  test('of every mode, to nobody', async () => {
    const first: number[] = [];
    for (const destination of [2, 0x40, 0xfe])
      for (let mode = 0; mode < 8; mode++)
        for (const level of [0, 1 << 14, 1 << 15]) {
          const command = (mode << 8) | level;
          first.push(...sendTo(destination, command), ...sendTo(destination, command | 0xff));
        }
    // Logical: nobody has a logical id yet.
    for (let mode = 0; mode < 8; mode++) first.push(...sendTo(0, (1 << 11) | (mode << 8) | 0x4020));
    const { machine, engine } = await start({ first: [...first, ...STOP], second: [] });
    assert.deepEqual(await machine.run({ instructions: 1_000_000 }), { kind: 'dead-halt' });
    assert.equal(engine.core.vcpus[1]!.waitsForStart, true);
    assert.equal(engine.core.vcpus[1]!.instructions, 0);
  });

  test('a start where no RAM is ends the run and names the processor; one in the ROM comes to the reset of a firmware', async () => {
    for (const [page, exit] of [
      [0xa0, { kind: 'killed', reason: 'processor 1: execution at 0xa0000 (linear 0xa0000), where no RAM is' }],
      [0xff, { kind: 'reset' }],
    ] as const) {
      const first = [...sendTo(1, INIT), ...sendTo(1, 0x4600 | page), ...FOR_EVER];
      const { machine } = await start({ first, second: [] });
      assert.deepEqual(await machine.run({ instructions: 10_000_000 }), exit);
    }
  });
});

test('what cannot be is refused, and said', async () => {
  const kernel = tinyKernel(STOP);
  await assert.rejects(assemble({ kernel, cpus: 65 }), /65 is not a number from 1 to 64/);
  await assert.rejects(assemble({ kernel, cpus: { cpus: 6, sockets: 4 } }), /6 cannot be 4 sockets/);
  await assert.rejects(assemble({ kernel, schedule: -1 }), /-1 is neither "fair" nor a seed/);
  const alone: HypervisorModule = {
    name: 'alone',
    title: 'one processor',
    make: () => derive(bareTable, { name: 'alone', title: 'one processor', smp: { maximum: 1 } }),
  };
  await assert.rejects(assemble({ kernel, cpus: 2, hypervisor: alone }), /alone has one processor here/);
});

/** mov ecx, index; mov eax, value; xor edx, edx; wrmsr */
const writeMsr16 = (index: number, value: number) => [
  ...[0x66, 0xb9, ...u32(index), 0x66, 0xb8, ...u32(value), 0x66, 0x31, 0xd2, 0x0f, 0x30],
];
const HANDLER = 0x100;
const VECTOR = 0x40;
/** x2APIC mode, enabled; its timer comes every 20 microseconds; sti; hlt; jmp to the hlt. */
const TICKING = [
  ...[...writeMsr16(0x1b, 0xfee00c00), ...writeMsr16(0x80f, 0x1ff), ...writeMsr16(0x83e, 0xb)],
  ...[...writeMsr16(0x832, 0x20000 | VECTOR), ...writeMsr16(0x838, 20_000), 0xfb, HLT, 0xeb, 0xfd],
];
/** The interrupt's end; iret. */
function placeHandler({ memory }: Awaited<ReturnType<typeof start>>['engine']): void {
  memory.copyIn(START + HANDLER, Uint8Array.of(...writeMsr16(0x80b, 0), 0xcf));
  memory.copyIn(4 * VECTOR, Uint8Array.of(...u16(HANDLER), ...u16(START >> 4)));
}

test('a processor that the schedule holds up while an interrupt waits for it goes on when it is released', async () => {
  const { machine, engine } = await start({ first: [...START_OTHER, ...STOP], second: TICKING }, { schedule: 1 });
  placeHandler(engine);
  assert.deepEqual(await machine.run({ instructions: 50_000, timeout: 20 }), { kind: 'stopped' });
});

test('a processor that an interrupt wakes while it is held up waits from then on', async () => {
  const first = [...START_OTHER, 0xeb, 0xfe]; // jmp to itself
  const { machine, engine } = await start({ first, second: TICKING }, { schedule: 1 });
  placeHandler(engine);
  assert.deepEqual(await machine.run({ instructions: 100_000_000, timeout: 60 }), { kind: 'stopped' });
  const [busy, ticking] = machine.statistics.processors.map(({ waitedTime }) => waitedTime);
  // It is halted nearly always, also when it is held up; an interrupt comes soon after.
  assert.ok(ticking! > busy! / 2, `${ticking} beside ${busy}`);
});
