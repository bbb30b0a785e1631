import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../../conformance/tiny-elf.ts';
import { assemble } from '../../machine/machine.ts';
import { pcMemoryMap } from '../e820.ts';
import { LOW_MEMORY } from '../placement.ts';
import { makeBzImage, text, u32 } from '../testing.ts';

const MIB = 1 << 20;
const RAM = 64 * MIB;

/** What a call is given and leaves behind: registers are 32 bits wide, the stack and data segments are Linux's set-up code's. */
interface Call {
  vector: number;
  eax?: number;
  ebx?: number;
  ecx?: number;
  edx?: number;
  si?: number;
  di?: number;
  bp?: number;
}
interface Answer {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
  carry: boolean;
  zero: boolean;
}

/** Offsets in the set-up code's segment: where the header's jump leads, our code, room for the callers', the answers. */
const JUMP_TARGET = 0x26c;
const CODE = 0x2000;
const ROOM = 0x6000;
const ANSWERS = 0x8000;
const ANSWER_SIZE = 18;
const HLT = 0xf4;

const u16 = (value: number) => [value & 0xff, (value >> 8) & 0xff];

/** Real-mode code that makes a call and stores what it left. */
function codeOf(call: Call, index: number): number[] {
  const at = ANSWERS + index * ANSWER_SIZE;
  return [
    ...[0x66, 0xb8, ...u32(call.eax ?? 0)], // mov eax, …
    ...[0x66, 0xbb, ...u32(call.ebx ?? 0)], // mov ebx, …
    ...[0x66, 0xb9, ...u32(call.ecx ?? 0)], // mov ecx, …
    ...[0x66, 0xba, ...u32(call.edx ?? 0)], // mov edx, …
    ...[0xbe, ...u16(call.si ?? 0)], // mov si, …
    ...[0xbf, ...u16(call.di ?? 0)], // mov di, …
    ...[0xbd, ...u16(call.bp ?? 0)], // mov bp, …
    ...[0xcd, call.vector], // int …
    0x9c, // pushf
    ...[0x8f, 0x06, ...u16(at + 16)], // pop word [at + 16]
    ...[0x66, 0xa3, ...u16(at)], // mov [at], eax
    ...[0x66, 0x89, 0x1e, ...u16(at + 4)], // mov [at + 4], ebx
    ...[0x66, 0x89, 0x0e, ...u16(at + 8)], // mov [at + 8], ecx
    ...[0x66, 0x89, 0x16, ...u16(at + 12)], // mov [at + 12], edx
  ];
}

/** Enters a bzImage in real mode that makes `calls` and halts. @param room is put at ROOM in its segment */
async function callBios(calls: readonly Call[], { room = [] as ArrayLike<number>, typed = '' } = {}) {
  let shown = '';
  // Without a payload, as a program that only borrows the boot protocol.
  const image = makeBzImage({ payload: new Uint8Array() });
  image.set([0xe9, ...u16(CODE - (JUMP_TARGET + 3))], JUMP_TARGET); // jmp CODE
  const { machine, engine } = await assemble({
    kernel: image,
    entry: 'real',
    memory: RAM,
    engine: 'interpreter',
    console: { onInput: () => {}, write: data => void (shown += new TextDecoder().decode(data)) },
  });
  const { memory } = engine;
  memory.copyIn(LOW_MEMORY.realMode + CODE, Uint8Array.from([...calls.flatMap(codeOf), HLT]));
  memory.copyIn(LOW_MEMORY.realMode + ROOM, Uint8Array.from(room));
  if (typed) machine.type(typed);
  const exit = await machine.run({ instructions: 10_000_000 });
  const answers = calls.map((_, index): Answer => {
    const at = LOW_MEMORY.realMode + ANSWERS + index * ANSWER_SIZE;
    const [eax, ebx, ecx, edx] = [0, 4, 8, 12].map(offset => memory.read32(at + offset));
    const flags = memory.read16(at + 16);
    return { eax, ebx, ecx, edx, carry: (flags & 1) !== 0, zero: (flags & 0x40) !== 0 };
  });
  return { exit, answers, shown, memory, machine };
}

const SMAP = 0x534d4150;

test('INT 15h, AX=E820h tells the memory map, range by range', async () => {
  const map = pcMemoryMap(RAM);
  const calls = map.map((_, index) => ({
    ...{ vector: 0x15, eax: 0xe820, ebx: index, ecx: 20, edx: SMAP },
    di: ROOM + 20 * index,
  }));
  const { answers, memory, exit } = await callBios(calls);
  assert.deepEqual(exit, { kind: 'dead-halt' });
  map.forEach((range, index) => {
    const at = LOW_MEMORY.realMode + ROOM + 20 * index;
    const told = {
      address: Number(memory.read64(at)),
      size: Number(memory.read64(at + 8)),
      type: memory.read32(at + 16),
    };
    assert.deepEqual(told, range);
    const { eax, ebx, ecx, carry } = answers[index];
    assert.deepEqual([eax, ebx, ecx, carry], [SMAP, (index + 1) % map.length, 20, false]);
  });
});

test('INT 15h, AX=E820h refuses what is no question', async () => {
  const good = { vector: 0x15, eax: 0xe820, ecx: 20, edx: SMAP, di: ROOM };
  const { answers } = await callBios([
    { ...good, edx: 0 },
    { ...good, ecx: 19 },
    { ...good, ebx: 4 },
    { ...good, ebx: 0xffffffff },
    { ...good, eax: 0xe8ff },
  ]);
  for (const { eax, carry } of answers) assert.deepEqual([(eax >> 8) & 0xff, carry], [0x86, true]);
});

test('the older ways to ask for memory agree with it', async () => {
  const [low, sizes, high, equipment] = (
    await callBios([
      { vector: 0x12, eax: 0xffff0000 },
      { vector: 0x15, eax: 0xe801 },
      { vector: 0x15, eax: 0x8800 },
      { vector: 0x11 },
    ])
  ).answers;
  assert.equal(low.eax, 0xffff0000 + 639, 'the upper half is left alone');
  assert.deepEqual([sizes.eax, sizes.ebx, sizes.ecx, sizes.edx], [0x3c00, 48 * 16, 0x3c00, 48 * 16]);
  assert.equal(high.eax, 63 * 1024);
  assert.equal(equipment.eax, 0x222);
});

test('INT 15h, AH=87h moves memory, and only where there is some', async () => {
  const descriptor = (base: number) => [...u16(0xffff), ...u32(base).slice(0, 3), 0x93, 0, base >>> 24];
  const table = (from: number, to: number) => [
    ...new Uint8Array(16),
    ...descriptor(from),
    ...descriptor(to),
    ...new Uint8Array(16),
  ];
  const source = LOW_MEMORY.realMode + ROOM;
  const room = [...table(source, 2 * MIB), ...table(source, RAM - 4), ...table(0xfffffff0, 2 * MIB)];
  const move = { vector: 0x15, eax: 0x8700, ecx: 24 };
  const { answers, memory } = await callBios(
    [0, 1, 2].map(index => ({ ...move, si: ROOM + 48 * index })),
    { room },
  );
  assert.deepEqual(
    answers.map(({ eax, carry }) => [eax >> 8, carry]),
    [
      [0, false],
      [2, true],
      [2, true],
    ],
  );
  assert.deepEqual([...memory.copyOut(2 * MIB, 48)], room.slice(0, 48));
});

test('INT 10h prints on the console', async () => {
  const letters = [...'BIOS\r\n'].map(letter => ({ vector: 0x10, eax: 0x0e00 + letter.charCodeAt(0), ebx: 7 }));
  const room = text('aAbBcC');
  const { shown, answers } = await callBios(
    [
      ...letters,
      { vector: 0x10, eax: 0x1300, ecx: 3, bp: ROOM },
      { vector: 0x10, eax: 0x1302, ecx: 3, bp: ROOM },
      { vector: 0x10, eax: 0x0f00 },
      { vector: 0x10, eax: 0x4f00 },
    ],
    { room },
  );
  assert.equal(shown, 'BIOS\r\naAbabc');
  assert.equal(answers.at(-2)!.eax, 0x5003);
  assert.equal(answers.at(-1)!.eax, 0x4f00, 'no VESA');
});

test('INT 16h looks at keys and takes them', async () => {
  const [look, take, next, none, shifts] = (
    await callBios(
      [0x0100, 0x0000, 0x1000, 0x1100, 0x0200].map(eax => ({ vector: 0x16, eax })),
      { typed: 'ok' },
    )
  ).answers;
  assert.deepEqual([look.zero, look.eax], [false, 0x6f]);
  assert.deepEqual([take.eax, next.eax], [0x6f, 0x6b]);
  assert.equal(none.zero, true);
  assert.equal(shifts.eax, 0x0200);
});

test('INT 16h, AH=0 waits for a key', async () => {
  const { exit } = await callBios([{ vector: 0x16, eax: 0 }]);
  assert.deepEqual(exit, { kind: 'stopped' });
});

test('INT 1Ah and INT 15h, AH=86h: the time, and time that passes', async () => {
  // The virtual clock starts with 2026, and an instruction takes a nanosecond.
  const { answers } = await callBios([
    { vector: 0x1a, eax: 0x00ff },
    { vector: 0x1a, eax: 0x0200 },
    { vector: 0x1a, eax: 0x0400 },
    { vector: 0x15, eax: 0x8600, edx: 3000 },
    { vector: 0x1a, eax: 0xb101 },
  ]);
  const [ticks, time, date, wait, pci] = answers;
  assert.deepEqual([ticks.eax, ticks.ecx, ticks.edx], [0, 0, 0]);
  assert.deepEqual([time.ecx, time.edx, time.carry], [0, 0, false]);
  assert.deepEqual([date.ecx, date.edx], [0x2026, 0x0101]);
  assert.equal(wait.carry, false);
  assert.deepEqual([pci.eax >> 8, pci.carry], [0x81, true]);
});

test('a wait is over when its time is', async () => {
  const { machine } = await callBios([{ vector: 0x15, eax: 0x8600, edx: 3000 }]);
  assert.ok(machine.statistics.instructions >= 3_000_000);
  assert.ok(machine.statistics.instructions < 3_001_000);
});

test('what a PC may have and this one has not fails cleanly', async () => {
  const { answers, machine } = await callBios([
    { vector: 0x13, eax: 0x0201, edx: 0x80 },
    { vector: 0x13, eax: 0x4100, ebx: 0x55aa, edx: 0x80 },
    { vector: 0x15, eax: 0x5300 },
    { vector: 0x15, eax: 0xc000 },
    { vector: 0x77, eax: 0x1234 },
  ]);
  assert.deepEqual(
    answers.slice(0, 4).map(({ eax, carry }) => [eax >> 8, carry]),
    [
      [0x01, true],
      [0x01, true],
      [0x86, true],
      [0x86, true],
    ],
  );
  assert.equal(answers[1].ebx, 0x55aa, 'no extensions');
  assert.equal(answers[4].eax, 0x1234);
  assert.deepEqual(machine.log, ['interrupt 77h in real mode: no BIOS service']);
});

test('INT 19h boots anew', async () => {
  const { exit } = await callBios([{ vector: 0x19 }]);
  assert.deepEqual(exit, { kind: 'reset' });
});

test('the port of the traps means nothing to others', async () => {
  // xor esp, esp; out 0xb2, al; hlt: in protected mode, without a stack.
  const kernel = tinyKernel([0x31, 0xe4, 0xe6, 0xb2, HLT]);
  const { machine } = await assemble({ kernel, entry: 'pvh', memory: RAM, engine: 'interpreter' });
  assert.deepEqual(await machine.run({ instructions: 1000 }), { kind: 'dead-halt' });
  // The ROM's own code, called with a stack that ends in the middle of what it pushes.
  // Without a payload, as a program that only borrows the boot protocol.
  const image = makeBzImage({ payload: new Uint8Array() });
  // mov sp, 1; jmp far 0xf000:0xe100
  image.set([0xbc, 1, 0, 0xea, 0x00, 0xe1, 0x00, 0xf0], JUMP_TARGET);
  const wrapped = await assemble({ kernel: image, entry: 'real', memory: RAM, engine: 'interpreter' });
  const exit = await wrapped.machine.run({ instructions: 1000 });
  assert.ok(['stopped', 'dead-halt', 'triple-fault'].includes(exit.kind), exit.kind);
});

test('code in real mode writes through CS, at the entry and behind a far jump', async () => {
  const code = [
    ...[0x2e, 0xc6, 0x06, ...u16(0x1000), 1], // mov byte cs:[0x1000], 1
    ...[0xea, ...u16(JUMP_TARGET + 11), ...u16(LOW_MEMORY.realMode >> 4)], // jmp far, to the next instruction
    ...[0x2e, 0xc6, 0x06, ...u16(0x1201), 2], // mov byte cs:[0x1201], 2
    HLT,
  ];
  for (const engine of ['interpreter', 'jit'] as const) {
    const image = makeBzImage({ payload: new Uint8Array() });
    image.set(code, JUMP_TARGET);
    const { machine, engine: made } = await assemble({ kernel: image, entry: 'real', memory: RAM, engine });
    assert.deepEqual(await machine.run({ instructions: 1000 }), { kind: 'dead-halt' });
    assert.equal(made.memory.read16(LOW_MEMORY.realMode + 0x1200), 0x0201);
  }
});
