import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory } from '../memory/memory.ts';
import { pcMemoryMap } from './e820.ts';
import { parseKernel } from './image.ts';
import { ImageError } from './image-error.ts';
import { type LoadOptions, loadKernel } from './load.ts';
import { makeElf, text, u32 } from './testing.ts';

const MIB = 1 << 20;

/** A header, and the address fields of bit 16 where given. */
function header(flags: number, ...addresses: number[]): Uint8Array {
  return Uint8Array.from(
    [0x1badb002, flags, -(0x1badb002 + flags) >>> 0, ...addresses].flatMap(value => [...u32(value)]),
  );
}

function load(image: Awaited<ReturnType<typeof parseKernel>>, initrd?: Uint8Array, modules?: LoadOptions['modules']) {
  const memory = new GuestMemory(new ArrayBuffer(4 * MIB), 0, 4 * MIB);
  memory.bytes.fill(0xcc);
  const state = loadKernel(memory, image, {
    initrd,
    modules,
    commandLine: 'kernel noapic',
    rsdp: 0,
    memoryMap: pcMemoryMap(4 * MIB),
  });
  return { memory, ...state };
}

const stringAt = (memory: GuestMemory, address: number) =>
  new TextDecoder().decode(memory.bytes.subarray(address, memory.bytes.indexOf(0, address)));

const ELF = makeElf({
  class: 32,
  entry: MIB + 0x40,
  segments: [{ address: MIB, data: Uint8Array.from([...header(3), ...text('code')]) }],
});

test('an ELF kernel with a multiboot header gets the magic and the information', async () => {
  const { memory, registers, segments } = load(await parseKernel(ELF), text('a module'));
  assert.deepEqual([registers.rip, registers.rax], [BigInt(MIB + 0x40), 0x2badb002n]);
  assert.equal(registers.cr0! & 0x80000001n, 1n);
  assert.equal(segments.cs!.attributes, 0xc09b00);
  const info = Number(registers.rbx);
  assert.equal(memory.read32(info), 0x24d);
  assert.deepEqual([memory.read32(info + 4), memory.read32(info + 8)], [639, 3 * 1024]);
  assert.equal(stringAt(memory, memory.read32(info + 16)), 'kernel noapic');
  assert.equal(stringAt(memory, memory.read32(info + 64)), 'polyvisor');

  assert.equal(memory.read32(info + 20), 1);
  const module = memory.read32(info + 24);
  const [start, end] = [memory.read32(module), memory.read32(module + 4)];
  assert.equal(new TextDecoder().decode(memory.bytes.slice(start, end)), 'a module');
  assert.equal(start % 4096, 0);
  assert.equal(stringAt(memory, memory.read32(module + 8)), '');

  const ranges = [];
  const map = memory.read32(info + 48);
  for (let at = map; at < map + memory.read32(info + 44); at += memory.read32(at) + 4)
    ranges.push({
      address: Number(memory.read64(at + 4)),
      size: Number(memory.read64(at + 12)),
      type: memory.read32(at + 20),
    });
  assert.deepEqual(ranges, pcMemoryMap(4 * MIB));
});

test('modules follow the initrd, each with its words, none on another', async () => {
  const image = await parseKernel(ELF);
  const more = [
    { data: new Uint8Array(5000).fill(0x22), commandLine: 'two 2' },
    { data: new Uint8Array(), commandLine: 'of nothing' },
    { data: text('three'), commandLine: '' },
  ];
  const { memory, registers } = load(image, text('one'), more);
  const info = Number(registers.rbx);
  assert.equal(memory.read32(info + 20), 3);
  const list = memory.read32(info + 24);
  const found = [0, 1, 2].map(index => {
    const [start, end, words] = [0, 4, 8].map(offset => memory.read32(list + 16 * index + offset));
    return { start, content: memory.copyOut(start, end - start), words: stringAt(memory, words) };
  });
  assert.deepEqual(
    found.map(({ content, words }) => [content, words]),
    [
      [text('one'), ''],
      [more[0].data, 'two 2'],
      [text('three'), ''],
    ],
  );
  assert.deepEqual(
    found.map(({ start }) => start),
    [4 * MIB - 4096, 4 * MIB - 3 * 4096, 4 * MIB - 4 * 4096],
  );
  const much = (count: number, words: number) =>
    Array.from({ length: count }, () => ({ data: text('x'), commandLine: 'w'.repeat(words) }));
  assert.throws(() => load(image, undefined, much(257, 1)), /257 modules/);
  assert.throws(() => load(image, undefined, much(40, 1000)), /words are too long/);
  assert.throws(() => load(image, undefined, [{ data: new Uint8Array(3 * MIB), commandLine: '' }]), ImageError);
});

test('a flat file is loaded by the addresses in its header', async () => {
  const before = new Uint8Array(64).fill(0x11);
  const kernel = Uint8Array.from([
    ...before,
    ...header(0x10003, MIB + 0x40, MIB, 0, MIB + 0x1000, MIB + 0x60),
    ...text('flat kernel'),
  ]);
  const image = await parseKernel(kernel);
  assert.equal(image.format, 'multiboot');
  const { memory, registers } = load(image);
  assert.equal(registers.rip, BigInt(MIB + 0x60));
  assert.deepEqual(memory.copyOut(MIB, kernel.length), kernel);
  assert.ok(memory.copyOut(MIB + kernel.length, 0x1000 - kernel.length).every(byte => byte === 0));
  assert.equal(memory.read8(MIB + 0x1000), 0xcc);
  assert.equal(memory.read32(Number(registers.rbx)) & 8, 0, 'no module');
});

test('the boot data of a kernel in low memory stand beside it', async () => {
  for (const [start, end, where] of [
    [0x1000, 0x8000, 'behind it'],
    [0x20000, 0x2f000, 'behind it'],
    [0x1000, 0x9f000, 'above 1 MiB'],
    [0x30000, 0x9f000, 'where they always are'],
    [0x8000, 0x10000, 'where they always are'],
  ] as const) {
    const kernel = Uint8Array.from([...header(0x10003, start, start, 0, end, start + 32), ...text('low kernel')]);
    const { memory, registers } = load(await parseKernel(kernel), text('a module'));
    assert.deepEqual(memory.copyOut(start, kernel.length), kernel, 'the kernel is whole');
    const last = start + kernel.length;
    assert.ok(
      memory.copyOut(last, end - last).every(byte => byte === 0),
      'its bss is clear',
    );
    const info = Number(registers.rbx);
    const usual = info === 0x1000;
    assert.equal(usual ? 'where they always are' : info >= MIB ? 'above 1 MiB' : 'behind it', where);
    assert.equal(stringAt(memory, memory.read32(info + 16)), 'kernel noapic');
    const module = memory.read32(memory.read32(info + 24));
    assert.ok(module >= MIB, 'modules have room');
    assert.equal(new TextDecoder().decode(memory.copyOut(module, 8)), 'a module');
    for (const place of [info, memory.read32(info + 16), memory.read32(info + 24), memory.read32(info + 48)])
      assert.ok(place >= end || place < start, `0x${place.toString(16)} is the kernel's`);
  }
});

test('a header that lies is an ImageError', async () => {
  const rejects = async (message: RegExp, ...addresses: number[]) => {
    const image = await parseKernel(Uint8Array.from([...header(0x10003, ...addresses), ...text('flat kernel')]));
    assert.throws(
      () => load(image),
      error => error instanceof ImageError && message.test(error.message),
    );
  };
  await rejects(/damaged kernel: its multiboot header/, MIB, MIB - 4096, 0, 0, MIB);
  await rejects(/damaged kernel: its multiboot header/, MIB, MIB, 3 * MIB, 0, MIB);
  await rejects(/too little memory: the kernel with its boot data/, 0x1000, 0x1000, 0, 4 * MIB, 0x1000);
  await rejects(/too little memory/, 0xfff00000, 0xfff00000, 0, 0, 0xfff00000);
  await rejects(/too little memory/, MIB, MIB, 0, 0xffffffff, MIB);
  await rejects(/entry.*outside/, MIB, MIB, 0, 0, 0xfffffff0);
  const demanding = makeElf({ class: 32, entry: MIB, segments: [{ address: MIB, data: header(0x11) }] });
  const image = await parseKernel(demanding);
  assert.throws(() => load(image), /flags 0x10/);
});

test('without a right checksum it is no header', async () => {
  const bytes = header(0x10003, MIB, MIB, 0, 0, MIB);
  bytes[8] ^= 1;
  await assert.rejects(parseKernel(bytes), ImageError);
});
