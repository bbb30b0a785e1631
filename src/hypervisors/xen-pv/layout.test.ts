import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KernelImage } from '../../boot/image.ts';
import { ImageError } from '../../boot/image.ts';
import type { XenNotes } from '../../boot/xen-notes.ts';
import { abi32 } from './abi32.ts';
import { abi64 } from './abi64.ts';
import { countTables, layOut } from './layout.ts';

/** As much of an image as the layout looks at. */
function image(start: bigint, size: number, xen: Partial<XenNotes>): KernelImage {
  const segment = { type: 1, offset: 0, virtualAddress: 0n, physicalAddress: start, fileSize: 0, memorySize: size };
  return {
    elf: { segments: [segment], entry: start },
    xen: { source: 'notes', features: [], ...xen },
  } as unknown as KernelImage;
}

const debian = image(0x1000000n, 0x2e00000, {
  virtBase: 0xffffffff80000000n,
  paddrOffset: 0n,
  entry: 0xffffffff8304e1c0n,
  initP2m: 0x8000000000n,
  modStartPfn: true,
});

test("Debian's kernel in 256 MiB lies as libxl was seen to lay it out", () => {
  const layout = layOut(debian, 0x212810, 0x10000, abi64);
  assert.deepEqual(layout.kernel, { first: 0x1000, pages: 0x2e00 });
  assert.equal(layout.startInfo, 0x3e00);
  assert.equal(layout.xenstore, 0x3e01);
  assert.equal(layout.console, 0x3e02);
  assert.deepEqual(layout.tables, { first: 0x3e03, pages: 0x23 });
  assert.deepEqual(layout.tableCounts, { l3: 1, l2: 1, l1: 32 });
  assert.equal(layout.stack, 0x3e26);
  assert.equal(layout.mappedPages, 0x4000);
  assert.deepEqual(layout.initrd, { first: 0x4000, pages: 0x213 });
  assert.deepEqual(layout.p2m, { first: 0x4213, pages: 0x83 });
});

test('without the notes, ramdisk and list of frames come before start_info and are mapped', () => {
  const layout = layOut(image(0x100000n, 0x5000, {}), 0x1800, 0x2000, abi64);
  assert.deepEqual(layout.initrd, { first: 0x105, pages: 2 });
  assert.deepEqual(layout.p2m, { first: 0x107, pages: 16 });
  assert.equal(layout.startInfo, 0x117);
  assert.equal(layout.tables.first, 0x11a);
  assert.deepEqual(layout.tableCounts, { l3: 1, l2: 1, l1: 2 });
  assert.equal(layout.mappedPages, 0x400);
  assert.ok(layout.stack * 4096 + 512 * 1024 < layout.mappedPages * 4096);
});

test('tables are counted across their boundaries', () => {
  assert.deepEqual(countTables(0n, 1, 4), { l3: 1, l2: 1, l1: 1 });
  assert.deepEqual(countTables(0x1ff000n, 2, 4), { l3: 1, l2: 1, l1: 2 });
  assert.deepEqual(countTables(0x3ffff000n, 2, 4), { l3: 1, l2: 2, l1: 2 });
  assert.deepEqual(countTables(0x7ffffff000n, 2, 4), { l3: 2, l2: 2, l1: 2 });
});

test('PAE needs a table for the last GiB, which the initial mapping need not reach', () => {
  assert.deepEqual(countTables(0n, 0x400, 3), { l3: 0, l2: 4, l1: 2 });
  assert.deepEqual(countTables(0xc0000000n, 0x400, 3), { l3: 0, l2: 1, l1: 2 });
  const pae = image(0x100000n, 0x5000, { virtBase: 0xc0000000n, entry: 0xc0100000n });
  const layout = layOut(pae, 0, 0x2000, abi32);
  assert.deepEqual(layout.p2m, { first: 0x105, pages: 8 }, '4 bytes a frame');
  assert.deepEqual(layout.tables, { first: 0x110, pages: 4 });
});

test('what does not fit is refused with the way out', () => {
  assert.throws(() => layOut(debian, 0, 0x3000, abi64), ImageError);
  assert.throws(() => layOut(debian, 0xc000 * 4096, 0x10000, abi64), /more memory/);
  assert.throws(() => layOut(image(0x100000n, 0x1000, { entry: 0x200000n }), 0, 0x1000, abi64), /entry/);
  assert.throws(() => layOut(image(0n, 0, {}), 0, 0x1000, abi64), ImageError);
});
