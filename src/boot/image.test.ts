import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'fflate';
import { ImageError, parseKernel } from './image.ts';
import { makeBzImage, makeElf, randomNumbers, storeLz4, text, u32, u64 } from './testing.ts';

const VMLINUX = makeElf({
  entry: 0x1000000,
  segments: [
    { address: 0x1000000, data: new Uint8Array(300).fill(0x90), virtualAddress: 0xffffffff81000000n },
    { address: 0x1001000, data: text('data'), memorySize: 5000, virtualAddress: 0n },
  ],
  notes: [
    { owner: 'GNU', type: 3, data: text('build-id') },
    { owner: 'Xen', type: 6, data: text('linux\0') },
    { owner: 'Xen', type: 3, data: u64(0xffffffff80000000n) },
    { owner: 'Xen', type: 10, data: text('!writable_page_tables|pae_pgdir_above_4gb\0') },
    { owner: 'Xen', type: 13, data: Uint8Array.from([...u64(1n), ...u64(1n)]) },
    { owner: 'Xen', type: 16, data: u32(1) },
    { owner: 'Xen', type: 18, data: u32(0x1000850) },
  ],
});

/** With its size behind it, as the kernel's build leaves it. */
const LZ4_PAYLOAD = Uint8Array.from([...storeLz4(VMLINUX), ...u32(VMLINUX.length)]);

const rejects = (bytes: Uint8Array, message: RegExp) =>
  assert.rejects(parseKernel(bytes), error => {
    assert.ok(error instanceof ImageError, `${error}`);
    assert.match(error.message, message);
    assert.ok(!error.message.includes('\n'));
    return true;
  });

test('a vmlinux tells its entry, its segments and its Xen notes', async () => {
  const image = await parseKernel(VMLINUX);
  assert.deepEqual([image.format, image.bits, image.setup], ['ELF', 64, undefined]);
  assert.equal(image.elf!.entry, 0x1000000n);
  assert.equal(image.elf!.segments.length, 3);
  const { xen } = image;
  assert.equal(xen.source, 'notes');
  assert.equal(xen.phys32Entry, 0x1000850);
  assert.equal(xen.virtBase, 0xffffffff80000000n);
  assert.equal(xen.guestOs, 'linux');
  assert.equal(xen.modStartPfn, true);
  assert.deepEqual(xen.features, ['!writable_page_tables', 'pae_pgdir_above_4gb']);
  assert.deepEqual(xen.l1MfnValid, [[1n, 1n]]);
  assert.equal(xen.initP2m, undefined);
});

test('a bzImage is unpacked, by LZ4 or gzip', async () => {
  for (const payload of [LZ4_PAYLOAD, gzipSync(VMLINUX)]) {
    const image = await parseKernel(makeBzImage({ payload }));
    assert.deepEqual(image.elf!.bytes, VMLINUX);
    assert.equal(image.xen.phys32Entry, 0x1000850);
    assert.equal(image.description, 'Linux 6.1.0-test (bzImage, 64-bit)');
    assert.equal(image.setup!.commandLineSize, 2047);
    assert.equal(image.setup!.preferredAddress, 0x1000000);
  }
});

test('a bzImage packed in a way of its own keeps its own unpacker', async () => {
  const image = await parseKernel(makeBzImage({ payload: Uint8Array.from([...text('BZh9'), ...new Uint8Array(60)]) }));
  assert.equal(image.elf, undefined);
  assert.equal(image.bits, 64);
});

test('a 32-bit kernel', async () => {
  const elf = makeElf({ class: 32, entry: 0x1000000, segments: [{ address: 0x1000000, data: text('code') }] });
  const image = await parseKernel(elf);
  assert.deepEqual([image.bits, image.elf!.entry, image.xen.source], [32, 0x1000000n, 'none']);
  assert.equal(image.elf!.segments[0].physicalAddress, 0x1000000n);
});

test('notes are found in sections, and the old __xen_guest section is read', async () => {
  const note = Uint8Array.from([...u32(4), ...u32(8), ...u32(3), ...text('Xen\0'), ...u64(0xc0000000n)]);
  const segments = [{ address: 0, data: text('code') }];
  const noted = await parseKernel(makeElf({ segments, sections: [{ name: '.note.Xen', type: 7, data: note }] }));
  assert.equal(noted.xen.virtBase, 0xc0000000n);
  const legacy = text(
    'GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0x1000,HYPERCALL_PAGE=0x2,LOADER=generic,PAE=yes\0,GUEST_OS=x',
  );
  const { xen } = await parseKernel(makeElf({ segments, sections: [{ name: '__xen_guest', data: legacy }] }));
  assert.deepEqual([xen.source, xen.guestOs, xen.loader], ['__xen_guest', 'Mini-OS', 'generic']);
  assert.equal(xen.hypercallPage, 0x3000n);
  assert.equal(xen.paddrOffset, 0x1000n);
});

test('a kernel packed as a whole is unpacked once', async () => {
  assert.equal((await parseKernel(gzipSync(VMLINUX))).format, 'ELF');
  await rejects(gzipSync(text('hello there')), /gzip data that holds a text file/);
  await rejects(gzipSync(gzipSync(VMLINUX)), /gzip data that holds gzip data/);
});

test('foreign files are named', async () => {
  const at = (offset: number, magic: string) => {
    const bytes = new Uint8Array(1024).fill(0xee);
    bytes.set(
      [...magic].map(character => character.charCodeAt(0)),
      offset,
    );
    return bytes;
  };
  await rejects(at(0, '\xff\xd8\xff\xe0'), /JPEG/);
  await rejects(at(0x38, 'ARM\x64'), /64-bit ARM kernel/);
  await rejects(at(0x24, '\x18\x28\x6f\x01'), /32-bit ARM kernel/);
  await rejects(at(0, '!<arch>\ndebian-binary'), /Debian package/);
  await rejects(at(0, '070701'), /--initrd/);
  await rejects(at(0, 'QFI\xfb'), /--disk/);
  await rejects(new Uint8Array(), /empty/);
  await rejects(at(0, 'nonsense\x00'), /neither a bzImage/);
  await rejects(makeElf({ machine: 183 }), /64-bit ARM, not for x86/);
  await rejects(makeElf({ type: 1, segments: [{ address: 0, data: text('x') }] }), /module/);
  await rejects(makeElf(), /nothing to load/);
});

test('truncated and corrupt files say so', async () => {
  const image = makeBzImage({ payload: LZ4_PAYLOAD });
  await rejects(image.subarray(0, image.length - 100), /truncated bzImage: \d+ bytes of \d+/);
  await rejects(image.subarray(0, 700), /truncated bzImage/);
  await rejects(VMLINUX.subarray(0, 400), /truncated ELF/);
  await rejects(makeBzImage({ payload: LZ4_PAYLOAD, version: 0x200 }), /boot protocol 2\.00/);
  await rejects(
    makeBzImage({ payload: Uint8Array.from([...storeLz4(VMLINUX), ...u32(VMLINUX.length + 5)]) }),
    /LZ4 data is corrupt/,
  );
  await rejects(makeBzImage({ payload: text('no packing known at all') }), /packed in no known way/);
  const corrupt = gzipSync(VMLINUX);
  corrupt[40] ^= 0x10;
  await rejects(makeBzImage({ payload: corrupt }), /gzip data is corrupt/);
});

test('whatever the bytes, a kernel or an ImageError', async () => {
  const originals = [
    VMLINUX,
    makeBzImage({ payload: LZ4_PAYLOAD }),
    makeBzImage({ payload: gzipSync(VMLINUX) }),
    gzipSync(VMLINUX),
  ];
  const random = randomNumbers(20061);
  let kernels = 0;
  let errors = 0;
  for (let round = 0; round < 6000; round++) {
    const original = originals[round % originals.length];
    const bytes = round % 5 === 0 ? original.slice(0, random(original.length)) : original.slice();
    // Most of the meaning stands in the first kilobyte.
    const reach = round % 3 === 0 ? bytes.length : Math.min(bytes.length, 0x460);
    for (let flips = random(6); flips > 0 && reach > 0; flips--)
      bytes[random(reach)] = random(4) === 0 ? 0xff : random(256);
    try {
      await parseKernel(bytes);
      kernels++;
    } catch (error) {
      assert.ok(error instanceof ImageError, `round ${round}: ${error instanceof Error ? error.stack : error}`);
      errors++;
    }
  }
  assert.ok(kernels > 500 && errors > 500, `${kernels} kernels, ${errors} errors`);
});
