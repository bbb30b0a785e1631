import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory } from '../memory/memory.ts';
import { pcMemoryMap } from './e820.ts';
import { type KernelImage, parseKernel } from './image.ts';
import { ImageError } from './image-error.ts';
import { type BootEntry, type LoadOptions, loadKernel, shortestWay } from './load.ts';
import { makeBzImage, makeElf, storeLz4, text, u32 } from './testing.ts';

const MIB = 1 << 20;
const CODE = new Uint8Array(5000).map((_, index) => index % 251);

function vmlinux(bits: 32 | 64, address = MIB): Uint8Array {
  return makeElf({
    class: bits,
    entry: address + 0x10,
    segments: [{ address, data: CODE, memorySize: 9000, virtualAddress: BigInt(address) }],
    notes: [{ owner: 'Xen', type: 18, data: u32(address + 0x20) }],
  });
}

const KERNEL_64 = await parseKernel(vmlinux(64));
const KERNEL_32 = await parseKernel(vmlinux(32));

/** Its packing is unknown to us, its header is strict. */
const STRICT = await parseKernel(
  makeBzImage({
    commandLineSize: 10,
    initrdAddressMax: 20 * MIB - 1,
    payload: Uint8Array.from([...text('BZh'), ...new Uint8Array(20)]),
  }),
);

function newMemory(size = 4 * MIB): GuestMemory {
  const memory = new GuestMemory(new ArrayBuffer(size), 0, size);
  memory.bytes.fill(0xcc);
  return memory;
}

function load(memory: GuestMemory, image: KernelImage, options: Partial<LoadOptions> = {}, entry?: BootEntry) {
  const complete = { initrd: undefined, commandLine: '', rsdp: 0, memoryMap: pcMemoryMap(memory.size), ...options };
  return loadKernel(memory, image, complete, entry);
}

const stringAt = (memory: GuestMemory, address: number) =>
  new TextDecoder().decode(memory.bytes.subarray(address, memory.bytes.indexOf(0, address)));

test('PVH: protected mode, EBX at a start info that tells everything', () => {
  const memory = newMemory();
  const initrd = text('an initrd');
  const { registers, segments } = load(memory, KERNEL_64, { initrd, commandLine: 'console=ttyS0', rsdp: 0xe0000 });
  assert.equal(registers.rip, BigInt(MIB + 0x20));
  assert.equal(registers.cr0! & 0x80000001n, 1n);
  assert.equal(registers.efer ?? 0n, 0n);
  assert.deepEqual([segments.cs!.attributes, segments.ds!.attributes], [0xc09b00, 0xc09300]);
  assert.deepEqual([segments.tr!.limit, segments.tr!.attributes], [0x67, 0x8b00]);

  const info = Number(registers.rbx);
  assert.equal(memory.read32(info), 0x336ec578);
  assert.equal(memory.read32(info + 4), 1);
  assert.equal(memory.read64(info + 32), 0xe0000n);
  assert.equal(stringAt(memory, Number(memory.read64(info + 24))), 'console=ttyS0');
  assert.equal(memory.read32(info + 12), 1);
  const module = Number(memory.read64(info + 16));
  const address = Number(memory.read64(module));
  assert.equal(memory.read64(module + 8), BigInt(initrd.length));
  assert.deepEqual(memory.copyOut(address, initrd.length), initrd);
  assert.equal(address % 4096, 0);
  assert.equal(address, 4 * MIB - 4096);

  const map = Number(memory.read64(info + 40));
  const ranges = Array.from({ length: memory.read32(info + 48) }, (_, index) => {
    const at = map + index * 24;
    return { address: Number(memory.read64(at)), size: Number(memory.read64(at + 8)), type: memory.read32(at + 16) };
  });
  assert.deepEqual(ranges, pcMemoryMap(4 * MIB));
});

test('segments lie where they belong, with zeros behind what the file holds', () => {
  for (const entry of ['pvh', 'linux'] as const) {
    const memory = newMemory();
    load(memory, KERNEL_64, {}, entry);
    assert.deepEqual(memory.copyOut(MIB, CODE.length), CODE);
    assert.ok(memory.copyOut(MIB + CODE.length, 9000 - CODE.length).every(byte => byte === 0));
    assert.equal(memory.read8(MIB + 9000), 0xcc);
  }
});

test('64-bit Linux: long mode on an identity map, RSI at boot_params', () => {
  const memory = newMemory();
  const { registers, segments } = load(
    memory,
    KERNEL_64,
    { initrd: text('disk'), commandLine: 'quiet', rsdp: 0xf0000 },
    'linux',
  );
  assert.equal(registers.rip, BigInt(MIB + 0x10));
  assert.equal(registers.efer, 0x500n);
  assert.equal(registers.cr4! & 0x20n, 0x20n);
  assert.equal(registers.cr0! & 0x80000001n, 0x80000001n);
  assert.deepEqual([segments.cs!.selector, segments.cs!.attributes, segments.ss!.selector], [0x10, 0xa09b00, 0x18]);
  const gdt = Number(registers.gdtBase);
  assert.equal(memory.read64(gdt + 0x10), 0x00af9b000000ffffn);
  assert.equal(memory.read64(gdt + 0x18), 0x00cf93000000ffffn);
  assert.equal(Number(registers.gdtLimit), 31);

  for (const address of [0, 0x1234567, 0x7fffffff, 0xffe00000]) {
    const step = (table: number, index: number) => memory.read64((table & ~0xfff) + 8 * index);
    const pointer = step(Number(registers.cr3), 0);
    const directory = step(Number(pointer & 0xfffff000n), Math.floor(address / 2 ** 30));
    const page = step(Number(directory & 0xfffff000n), (address >>> 21) & 511);
    assert.equal(page & 0x83n, 0x83n);
    assert.equal(Number(page & ~0x1fffffn), address - (address % 2 ** 21));
  }

  const params = Number(registers.rsi);
  assert.equal(memory.read32(params + 0x202), 0x53726448);
  assert.equal(memory.read16(params + 0x1fe), 0xaa55);
  assert.equal(memory.read8(params + 0x210), 0xff);
  assert.equal(memory.read64(params + 0x70), 0xf0000n);
  assert.equal(stringAt(memory, memory.read32(params + 0x228)), 'quiet');
  assert.equal(stringAt(memory, memory.read32(params + 0x218)).slice(0, 4), 'disk');
  assert.equal(memory.read32(params + 0x21c), 4);
  assert.equal(memory.read8(params + 0x1e8), 4);
  assert.equal(memory.read64(params + 0x2d0 + 20), 0x9fc00n);
  assert.equal(memory.read8(params + 0x1ef), 0);
});

test('the BIOS data area says where low memory ends', () => {
  const memory = newMemory();
  load(memory, KERNEL_64);
  assert.deepEqual([memory.read16(0x40e), memory.read16(0x413), memory.read8(0x9fc00)], [0x9fc0, 639, 1]);
});

test('32-bit Linux: protected mode, no paging', () => {
  const { registers, segments } = load(newMemory(), KERNEL_32, {}, 'linux');
  assert.equal(registers.rip, BigInt(MIB + 0x10));
  assert.deepEqual([registers.cr0, registers.cr3, registers.efer], [0x11n, undefined, undefined]);
  assert.equal(segments.cs!.attributes, 0xc09b00);
});

test("a bzImage's header goes into boot_params, and its own unpacker can be entered", async () => {
  const elf = vmlinux(64, 16 * MIB);
  const image = await parseKernel(makeBzImage({ payload: Uint8Array.from([...storeLz4(elf), ...u32(elf.length)]) }));
  const memory = newMemory(32 * MIB);
  const unpacked = load(memory, image, { commandLine: 'x' }, 'linux');
  assert.equal(unpacked.registers.rip, BigInt(16 * MIB + 0x10));
  const params = Number(unpacked.registers.rsi);
  assert.equal(memory.read16(params + 0x206), 0x20f);
  assert.equal(memory.read32(params + 0x230), 0x200000);

  const packed = load(memory, image, { commandLine: 'x' }, 'packed');
  assert.equal(packed.registers.rip, BigInt(16 * MIB + 0x200));
  assert.deepEqual(memory.copyOut(16 * MIB, 64), image.bytes.slice(1024, 1024 + 64));
  assert.equal(load(newMemory(32 * MIB), image).registers.rip, BigInt(16 * MIB + 0x20), 'PVH is the first choice');
});

const rejects = (work: () => unknown, message: RegExp) =>
  assert.throws(work, error => {
    assert.ok(error instanceof ImageError, `${error}`);
    assert.match(error.message, message);
    return true;
  });

test('what does not fit is told with its numbers', async () => {
  const big = await parseKernel(vmlinux(64, 16 * MIB));
  rejects(() => load(newMemory(), big), /needs 17 MiB and the machine has 4 MiB.*--memory/);
  rejects(
    () => load(newMemory(), KERNEL_64, { initrd: new Uint8Array(3 * MIB) }),
    /initrd 3 MiB of 4 MiB.*at least 8 MiB/,
  );
  rejects(
    () => load(newMemory(), KERNEL_64, { commandLine: 'x'.repeat(3000) }),
    /too long: 3000 bytes, and this kernel takes 2047/,
  );
  rejects(() => load(newMemory(), KERNEL_64, { commandLine: 'a\0b' }), /NUL/);
  rejects(() => load(newMemory(64 * 1024), KERNEL_64), /too little memory/);
  rejects(() => load(newMemory(32 * MIB), STRICT, { commandLine: '12345678901' }), /takes 10/);
});

test('the initrd stays below where the kernel wants it to end', () => {
  const memory = newMemory(32 * MIB);
  const { registers } = load(memory, STRICT, { initrd: new Uint8Array(MIB) });
  assert.equal(memory.read32(Number(registers.rsi) + 0x218), 19 * MIB);
  // Unpacking itself, the kernel takes all up to 18 MiB: no amount of memory helps.
  rejects(() => load(newMemory(64 * MIB), STRICT, { initrd: new Uint8Array(2 * MIB + 1) }), /initrd is too long/);
});

test('a kernel that would lie on the boot data of Linux, or outside all memory, is refused', async () => {
  const low = {
    ...KERNEL_64,
    elf: { ...KERNEL_64.elf!, segments: [{ ...KERNEL_64.elf!.segments[0], physicalAddress: 0x1000n }] },
  };
  rejects(() => load(newMemory(), low, {}, 'linux'), /boot data/);
  const { registers } = load(newMemory(), low);
  assert.ok(registers.rbx! >= 0x30000n, 'of a PVH kernel the boot data are put beside it');
  const far = await parseKernel(makeElf({ entry: 0, segments: [{ address: 2 ** 40, data: text('x') }] }));
  rejects(() => load(newMemory(), far), /too little memory/);
  const lost = await parseKernel(makeElf({ entry: 2 ** 40, segments: [{ address: MIB, data: text('x') }] }));
  rejects(() => load(newMemory(), lost), /entry.*outside/);
  rejects(() => load(newMemory(), STRICT, {}, 'pvh'), /no PVH entry/);
});

test('the memory map of a PC has its holes', () => {
  const map = pcMemoryMap(256 * MIB);
  assert.deepEqual(
    map.filter(({ type }) => type === 1),
    [
      { address: 0, size: 0x9fc00, type: 1 },
      { address: MIB, size: 255 * MIB, type: 1 },
    ],
  );
  const large = pcMemoryMap(3.5 * 2 ** 30).at(-1)!;
  assert.equal(large.address + large.size, 0xc0000000);
});

test('PVH: modules follow the initrd, with their words but without the name of their file', () => {
  const memory = newMemory();
  const modules = [
    { data: text('a kernel'), commandLine: 'vmlinuz console=hvc0 quiet' },
    { data: text('its initrd'), commandLine: 'initrd' },
  ];
  const { registers } = load(memory, KERNEL_64, { initrd: text('first'), modules });
  const info = Number(registers.rbx);
  assert.equal(memory.read32(info + 12), 3);
  const list = Number(memory.read64(info + 16));
  const told = [0, 1, 2].map(index => {
    const [address, size, words] = [0, 8, 16].map(at => Number(memory.read64(list + 32 * index + at)));
    return [new TextDecoder().decode(memory.copyOut(address, size)), words && stringAt(memory, words)];
  });
  assert.deepEqual(told, [
    ['first', 0],
    ['a kernel', 'console=hvc0 quiet'],
    ['its initrd', 0],
  ]);
  rejects(() => load(newMemory(), KERNEL_64, { modules }, 'linux'), /takes no modules/);
});

test('programs that borrow the boot protocol of Linux start in real mode', async () => {
  const payload = new Uint8Array();
  const entryOf = async (kernelVersion: string, entry64: boolean) => {
    const image = await parseKernel(makeBzImage({ payload, kernelVersion, entry64 }));
    return [image.mayBeLinux, shortestWay(image)];
  };
  assert.deepEqual(await entryOf('iPXE 1.0.0', false), [false, 'real']);
  assert.deepEqual(await entryOf('MEMDISK 6.04 20200816', false), [false, 'real']);
  assert.deepEqual(await entryOf('Memtest86+ v6.10', true), [false, 'linux']);
  assert.deepEqual(await entryOf('6.1.0-50-686 (debian-kernel@lists.debian.org) #1 SMP', false), [true, 'linux']);
});
