import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../../conformance/tiny-elf.ts';
import type { Disk } from '../../host/disk.ts';
import { assemble } from '../../machine/machine.ts';
import { createMemoryDisk } from '../../matrix/memory-disk.ts';
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
async function callBios(
  calls: readonly Call[],
  { room = [] as ArrayLike<number>, typed = '', disks = [] as readonly Disk[] } = {},
) {
  let shown = '';
  // Without a payload, as a program that only borrows the boot protocol.
  const image = makeBzImage({ payload: new Uint8Array() });
  image.set([0xe9, ...u16(CODE - (JUMP_TARGET + 3))], JUMP_TARGET); // jmp CODE
  const { machine, engine } = await assemble({
    kernel: image,
    entry: 'real',
    memory: RAM,
    engine: 'interpreter',
    disks,
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
  const room = [...text('aAb---'), ...[...text('abc')].flatMap(letter => [letter, 7])];
  const { shown, answers } = await callBios(
    [
      ...letters,
      { vector: 0x10, eax: 0x1301, ecx: 3, edx: 0x0100, bp: ROOM },
      { vector: 0x10, eax: 0x1303, ecx: 3, edx: 0x0103, bp: ROOM + 6 },
      { vector: 0x10, eax: 0x0f00 },
      { vector: 0x10, eax: 0x4f00 },
    ],
    { room },
  );
  assert.equal(shown, 'BIOS\r\naAbabc');
  assert.equal(answers.at(-2)!.eax, 0x5003);
  assert.equal(answers.at(-1)!.eax, 0x4f00, 'no VESA');
});

const at = (row: number, column: number) => ({ vector: 0x10, eax: 0x0200, ebx: 0, edx: (row << 8) | column });
const look = { vector: 0x10, eax: 0x0800, ebx: 0 };
const print = (code: number, attribute: number, count = 1) => ({
  ...{ vector: 0x10, eax: 0x0900 + code, ebx: attribute, ecx: count },
});
const scroll = (lines: number, window: readonly [number, number, number, number], down = false) => ({
  ...{ vector: 0x10, eax: (down ? 0x0700 : 0x0600) + lines, ebx: 0x1f00 },
  ...{ ecx: (window[0] << 8) | window[1], edx: (window[2] << 8) | window[3] },
});
/** What AH=08h answers, of calls among which there are others. */
const seen = async (calls: readonly Call[]) => {
  const { answers } = await callBios(calls);
  return answers.filter((_, index) => calls[index] === look).map(({ eax }) => eax.toString(16).padStart(4, '0'));
};

test('INT 10h, AH=08h reads what has been printed, with its attribute', async () => {
  const letters = [...'ab'].map(letter => ({ vector: 0x10, eax: 0x0e00 + letter.charCodeAt(0), ebx: 7 }));
  const calls = [
    look,
    ...letters,
    look,
    at(0, 0),
    look,
    at(0, 1),
    look,
    at(5, 78),
    print(0x2a, 0x4e, 3),
    look,
    at(6, 0),
  ];
  assert.deepEqual(await seen([...calls, look, at(6, 1), look]), [
    '0720',
    '0720',
    '0761',
    '0762',
    '4e2a',
    '4e2a',
    '0720',
  ]);
});

test('INT 10h, AH=06h and 07h move what a window has', async () => {
  const marks = [
    at(1, 10),
    print(0x31, 7),
    at(2, 10),
    print(0x32, 7),
    at(3, 10),
    print(0x33, 7),
    at(2, 9),
    print(0x34, 7),
  ];
  const column = [at(1, 10), look, at(2, 10), look, at(3, 10), look, at(2, 9), look];
  assert.deepEqual(await seen([...marks, scroll(1, [1, 10, 3, 12]), ...column]), ['0732', '0733', '1f20', '0734']);
  assert.deepEqual(await seen([...marks, scroll(2, [1, 10, 3, 12], true), ...column]), [
    '1f20',
    '1f20',
    '0731',
    '0734',
  ]);
  assert.deepEqual(await seen([...marks, scroll(1, [0, 0, 24, 79]), ...column]), ['0732', '0733', '0720', '0720']);
  assert.deepEqual(await seen([...marks, scroll(0, [2, 0, 2, 79]), ...column]), ['0731', '1f20', '0733', '1f20']);
  assert.deepEqual(await seen([...marks, { vector: 0x10, eax: 3 }, ...column]), ['0720', '0720', '0720', '0720']);
  const newline = { vector: 0x10, eax: 0x0e0a, ebx: 7 };
  assert.deepEqual(await seen([...marks, at(24, 0), newline, ...column]), ['0732', '0733', '0720', '0720']);
});

test('a window that is narrower than the terminal is printed anew', async () => {
  const { shown, memory } = await callBios([at(1, 10), print(0x31, 7), scroll(1, [0, 10, 1, 11])]);
  assert.equal(memory.read16(0xb8000 + 20), 0x0731);
  assert.equal(shown, '\x1b[2;11H1\x1b[1;11H1 \x1b[2;11H\x1b[0;1;37;44m  ');
});

test('INT 15h, AH=24h: address line 20 is on, and stays so', async () => {
  const { answers } = await callBios([0x2400, 0x2401, 0x2402, 0x2403].map(eax => ({ vector: 0x15, eax })));
  assert.deepEqual(
    answers.map(({ eax, carry }) => [eax >> 8, carry]),
    [
      [0x86, true],
      [0, false],
      [0, false],
      [0, false],
    ],
  );
  assert.equal(answers[2].eax & 0xff, 1);
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
    { vector: 0x13, eax: 0x0201, ecx: 1, edx: 0x80 },
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

const MEBIBYTE_DISK = 64 * MIB;
/** A disk whose sectors hold their own number, in each of their words. */
function numberedDisk(size: number, sectorSize = 512): Disk {
  const disk = createMemoryDisk('disk', size, '');
  for (let sector = 0; sector < Math.min(size / sectorSize, 4096); sector++)
    disk.write(sector * sectorSize, new Uint8Array(Uint16Array.from({ length: sectorSize / 2 }, () => sector).buffer));
  return disk;
}
const packet = (count: number, offset: number, block: number) => [
  ...[0x10, 0, ...u16(count), ...u16(offset), ...u16(LOW_MEMORY.realMode >> 4)],
  ...[...u32(block), ...u32(0)],
];

test('INT 13h tells a disk by its geometry and by its blocks', async () => {
  const disk = numberedDisk(MEBIBYTE_DISK);
  const drive = { vector: 0x13, edx: 0x80 };
  const { answers, memory } = await callBios(
    [
      { ...drive, eax: 0x0800 },
      { ...drive, eax: 0x1500 },
      { ...drive, eax: 0x4100, ebx: 0x55aa },
      { ...drive, eax: 0x4800, si: ROOM },
      { ...drive, eax: 0x0800, edx: 0x81 },
      { ...drive, eax: 0x0000 },
    ],
    { disks: [disk], room: [0x1e, 0] },
  );
  const [geometry, type, extensions, parameters, absent, reset] = answers;
  const sectors = MEBIBYTE_DISK / 512;
  const cylinders = Math.floor(sectors / (16 * 63));
  assert.deepEqual([geometry.ecx, geometry.edx], [((cylinders - 1) << 8) | 63, (15 << 8) | 1]);
  assert.deepEqual([type.eax >> 8, type.ecx * 65536 + type.edx], [3, sectors]);
  assert.deepEqual([extensions.eax >> 8, extensions.ebx, extensions.ecx], [0x21, 0xaa55, 1]);
  assert.equal(parameters.carry, false);
  const at = LOW_MEMORY.realMode + ROOM;
  assert.deepEqual([memory.read16(at), memory.read32(at + 4), memory.read32(at + 8)], [0x1a, cylinders, 16]);
  assert.deepEqual([Number(memory.read64(at + 16)), memory.read16(at + 24)], [sectors, 512]);
  assert.deepEqual([absent.carry, absent.eax >> 8, reset.carry], [true, 1, false]);
});

test('INT 13h reads and writes, both ways, and nothing outside of the disk', async () => {
  const disk = numberedDisk(MEBIBYTE_DISK);
  const drive = { vector: 0x13, edx: 0x80 };
  const last = MEBIBYTE_DISK / 512;
  const room = [...packet(1, 0x7000, 4000), ...packet(1, 0x7000, 3), ...packet(2, 0x7000, last - 1)];
  const { answers, memory } = await callBios(
    [
      // Cylinder 1, head 2, sector 3, which is 1 * 16 * 63 + 2 * 63 + 2.
      { ...drive, eax: 0x0202, ebx: 0x6800, ecx: 0x0103, edx: 0x0280 },
      { ...drive, eax: 0x4200, si: ROOM },
      { ...drive, eax: 0x4300, si: ROOM + 16 },
      { ...drive, eax: 0x4200, si: ROOM + 32 },
      { ...drive, eax: 0x0201, ebx: 0x6800, ecx: 0x0100 },
      { ...drive, eax: 0x0201, ebx: 0x6800, ecx: 0xffff },
      { ...drive, eax: 0x0100 },
    ],
    { disks: [disk], room },
  );
  const at = LOW_MEMORY.realMode;
  assert.deepEqual([answers[0].eax, answers[0].carry], [2, false]);
  assert.deepEqual([memory.read16(at + 0x6800), memory.read16(at + 0x6a00)], [1136, 1137]);
  assert.equal(memory.read16(at + 0x7000), 4000);
  const written = new Uint8Array(4);
  disk.read(3 * 512, written);
  assert.deepEqual([...written], [...u16(4000), ...u16(4000)]);
  for (const { eax, carry } of answers.slice(3, 6)) assert.deepEqual([eax >> 8, carry], [4, true]);
  assert.equal(memory.read16(at + ROOM + 34), 0, 'no sector was read');
  assert.deepEqual([answers[6].eax >> 8, answers[6].carry], [4, true], 'the last status');
});

test('INT 13h: a read-only disk is write-protected, and a floppy is a floppy', async () => {
  const floppy = numberedDisk(1440 * 1024);
  const disk = { ...numberedDisk(MEBIBYTE_DISK), readOnly: true };
  const { answers } = await callBios(
    [
      { vector: 0x13, eax: 0x0301, ecx: 1, edx: 0x80 },
      { vector: 0x13, eax: 0x0800, edx: 0 },
      { vector: 0x13, eax: 0x1500, edx: 0 },
      { vector: 0x11 },
    ],
    { disks: [floppy, disk] },
  );
  const [write, geometry, type, equipment] = answers;
  assert.deepEqual([write.eax >> 8, write.carry], [3, true]);
  assert.deepEqual([geometry.ecx, geometry.edx, geometry.ebx], [(79 << 8) | 18, (1 << 8) | 1, 4]);
  assert.equal(type.eax >> 8, 1);
  assert.equal(equipment.eax, 0x223);
});

test('INT 10h: a character with an attribute leaves the cursor, which moves by AH=02h', async () => {
  const at = (row: number, column: number) => ({ vector: 0x10, eax: 0x0200, edx: (row << 8) | column });
  const { shown, answers } = await callBios([
    { vector: 0x10, eax: 0x0941, ebx: 7, ecx: 1 },
    { vector: 0x10, eax: 0x0300 },
    at(0, 1),
    { vector: 0x10, eax: 0x0942, ebx: 7, ecx: 1 },
    at(4, 10),
    { vector: 0x10, eax: 0x0943, ebx: 0x70, ecx: 2 },
    { vector: 0x10, eax: 0x0300 },
    at(0, 79),
    { vector: 0x10, eax: 0x0e44 },
    { vector: 0x10, eax: 0x0300 },
    { vector: 0x10, eax: 0x0ec4 },
  ]);
  assert.equal(shown, 'AB\x1b[5;11H\x1b[0;30;47mCC\x1b[1;80H\x1b[0mD\r\n─');
  assert.deepEqual([answers[1].edx, answers[6].edx, answers[9].edx], [0, 0x040a, 0x0100]);
});

test('INT 16h: what a terminal sends for keys that are no characters has scan codes', async () => {
  const { answers } = await callBios(
    Array.from({ length: 5 }, () => ({ vector: 0x16, eax: 0 })),
    { typed: '\x1b[A\x7f\n\x1b[3~\x1b' },
  );
  assert.deepEqual(
    answers.map(({ eax }) => eax),
    [0x4800, 0x0e08, 0x1c0d, 0x5300, 0x011b],
  );
});

/** A boot sector of this code. */
function bootDisk(code: readonly number[]): Disk {
  const disk = createMemoryDisk('boot', MIB, '');
  disk.write(0, Uint8Array.from([...code, ...new Uint8Array(510 - code.length), 0x55, 0xaa]));
  return disk;
}
async function boot(code: readonly number[], instructions = 1_000_000) {
  const { machine, engine } = await assemble({ memory: RAM, engine: 'interpreter', disks: [bootDisk(code)] });
  const exit = await machine.run({ instructions });
  return { exit, machine, memory: engine.memory };
}

test("without a kernel, a disk's first sector is entered with the drive in DL", async () => {
  // mov [0x7e00], dl; hlt
  const { exit, memory } = await boot([0x88, 0x16, 0x00, 0x7e, HLT]);
  assert.deepEqual([exit.kind, memory.read8(0x7e00)], ['dead-halt', 0x80]);
  await assert.rejects(assemble({ memory: RAM, engine: 'interpreter' }), /neither a kernel nor a disk to boot/);
  const empty = createMemoryDisk('empty', MIB, '');
  await assert.rejects(assemble({ memory: RAM, engine: 'interpreter', disks: [empty] }), /no boot loader on empty/);
});

test('INT 19h boots the disk again', async () => {
  // inc byte [0x7e00]; cmp byte [0x7e00], 3; je +2; int 0x19; hlt
  const { exit, memory } = await boot([
    ...[0xfe, 0x06, 0x00, 0x7e, 0x80, 0x3e, 0x00, 0x7e, 3],
    ...[0x74, 2, 0xcd, 0x19, HLT],
  ]);
  assert.deepEqual([exit.kind, memory.read8(0x7e00)], ['dead-halt', 3]);
});

test('STI and HLT in real mode wake on the timer, which counts', async () => {
  // sti; hlt; hlt; cli; hlt
  const { exit, memory } = await boot([0xfb, HLT, HLT, 0xfa, HLT], 1_000_000_000);
  assert.deepEqual([exit.kind, memory.read32(0x46c)], ['dead-halt', 2]);
});

test('an exception without a handler ends the run with its name and place; INT n of the same number does not', async () => {
  const undefinedInstruction = await boot([0xea, 0x05, 0x7c, 0, 0, 0x0f, 0x0b]);
  assert.deepEqual(undefinedInstruction.exit, {
    kind: 'killed',
    reason: '#UD (undefined instruction) at 0000:7c05 in real mode, without a handler for vector 6h',
  });
  // xor cx, cx; div cx
  const divide = await boot([0x31, 0xc9, 0xf7, 0xf1]);
  assert.match(divide.exit.kind === 'killed' ? divide.exit.reason : '', /^#DE .* at 0000:7c02/);
  assert.equal((await boot([0xcd, 0x06, 0xcd, 0x0d, HLT])).exit.kind, 'dead-halt');
});
