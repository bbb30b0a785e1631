/**
 * Where things stand in a new PV domain, as Xen's domain builder (libxl) lays them out. From page frame 0 everything up
 * to `mappedPages` is mapped in one run at VIRT_BASE: kernel, start_info, the two rings, page tables, a stack, and
 * padding. What the kernel asked to find elsewhere (its notes MOD_START_PFN and INIT_P2M) comes after it.
 */

import { PT_LOAD } from '../../boot/elf.ts';
import type { KernelImage } from '../../boot/image.ts';
import { ImageError } from '../../boot/image.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { PvAbi } from './abi.ts';

/** A run of page frames. */
export interface Run {
  first: number;
  pages: number;
}

/** Page tables of one mapping below the root, by level. PAE has no L3 tables but the root. */
export interface TableCounts {
  l3: number;
  l2: number;
  l1: number;
}

export interface Layout {
  virtBase: bigint;
  /** What a physical address of the ELF file must be raised by to be one of the domain's. */
  loadOffset: bigint;
  entry: bigint;
  kernel: Run;
  initrd: Run;
  /** The list of frames by page, and the tables that map it if it has an address of its own. */
  p2m: Run;
  p2mTables: TableCounts;
  startInfo: number;
  xenstore: number;
  console: number;
  /** The root, then the others of the first mapping, level by level. */
  tables: Run;
  tableCounts: TableCounts;
  stack: number;
  /** Pages mapped at `virtBase`. */
  mappedPages: number;
}

/** Bytes that stay mapped after the stack. */
const PADDING = 512 * 1024;
/** The mapping ends at a multiple of this. */
const MAPPING_ALIGNMENT = 4 * 1024 * 1024;

const pagesOf = (bytes: number) => Math.ceil(bytes / PAGE_SIZE);

function lowest(values: readonly bigint[]): bigint | undefined {
  return values.toSorted((a, b) => Number(a - b))[0];
}

/**
 * Tables that `[start, start + pages)` needs below the root. A PAE root has one for its last GiB in any case: Xen's entries
 * stand there.
 */
export function countTables(start: bigint, pages: number, levels: 3 | 4): TableCounts {
  const last = start + BigInt(pages) * BigInt(PAGE_SIZE) - 1n;
  const spans = (shift: bigint) => Number((last >> shift) - (start >> shift)) + 1;
  if (levels === 4) return { l3: spans(39n), l2: spans(30n), l1: spans(21n) };
  const l2 = spans(30n);
  return { l3: 0, l2: last >> 30n < 3n ? Number(3n - (start >> 30n)) + 1 : l2, l1: spans(21n) };
}

/** @throws ImageError where the kernel does not fit. `pages`: those of the domain. */
export function layOut(image: KernelImage, initrdSize: number, pages: number, abi: PvAbi): Layout {
  const { xen } = image;
  const elf = image.elf!;
  const virtBase = BigInt.asUintN(abi.width, xen.virtBase ?? 0n);
  const loadOffset = -(xen.paddrOffset ?? 0n);
  const loads = elf.segments.filter(({ type, memorySize }) => type === PT_LOAD && memorySize > 0);
  const starts = loads.map(segment => segment.physicalAddress + loadOffset);
  const ends = loads.map((segment, i) => starts[i] + BigInt(segment.memorySize));
  const start = lowest(starts) ?? 0n;
  const end = -(lowest(ends.map(address => -address)) ?? 0n);
  if (loads.length === 0 || start < 0n || end > BigInt(pages * PAGE_SIZE))
    throw new ImageError(
      `the kernel does not fit into ${Math.floor((pages * PAGE_SIZE) / 2 ** 20)} MiB; give the machine more memory`,
    );
  const entry = BigInt.asUintN(abi.width, xen.entry ?? elf.entry);
  if (entry < virtBase + start || entry >= virtBase + end)
    throw new ImageError("the kernel's Xen entry lies outside the kernel");

  const kernel: Run = { first: Math.floor(Number(start) / PAGE_SIZE), pages: 0 };
  let next = pagesOf(Number(end));
  kernel.pages = next - kernel.first;
  const take = (count: number): Run => {
    const run = { first: next, pages: count };
    next += count;
    return run;
  };
  const initrdPages = pagesOf(initrdSize);
  const p2mPages = pagesOf(pages * abi.long);
  let initrd = take(xen.modStartPfn ? 0 : initrdPages);
  let p2m = take(xen.initP2m === undefined ? p2mPages : 0);
  const startInfo = take(1).first;
  const xenstore = take(1).first;
  const console = take(1).first;

  // The tables lie in what they map, so their number depends on itself; it settles at once or nearly so.
  let tableCounts = { l3: abi.levels === 4 ? 1 : 0, l2: 1, l1: 1 };
  let mappedPages = 0;
  const total = (counts: TableCounts) => 1 + counts.l3 + counts.l2 + counts.l1;
  for (;;) {
    const bytes = (next + total(tableCounts) + 1) * PAGE_SIZE + PADDING;
    mappedPages = ((Math.floor(bytes / MAPPING_ALIGNMENT) + 1) * MAPPING_ALIGNMENT) / PAGE_SIZE;
    const counts = countTables(virtBase, mappedPages, abi.levels);
    if (total(counts) === total(tableCounts)) break;
    tableCounts = counts;
  }
  const tables = take(total(tableCounts));
  const stack = take(1).first;
  next = mappedPages;
  if (xen.modStartPfn) initrd = take(initrdPages);
  let p2mTables: TableCounts = { l3: 0, l2: 0, l1: 0 };
  if (xen.initP2m !== undefined) {
    p2mTables = countTables(xen.initP2m, p2mPages, abi.levels);
    p2m = take(p2mPages + p2mTables.l3 + p2mTables.l2 + p2mTables.l1);
  }
  if (next > pages)
    throw new ImageError(
      `kernel and initial ramdisk need ${Math.ceil((next * PAGE_SIZE) / 2 ** 20)} MiB; give the machine more memory`,
    );
  return {
    virtBase,
    loadOffset,
    entry,
    kernel,
    initrd,
    p2m,
    p2mTables,
    startInfo,
    xenstore,
    console,
    tables,
    tableCounts,
    stack,
    mappedPages,
  };
}
