/**
 * Builds a domain around a kernel image as Xen's domain builder (libxl) does, up to the state its first vCPU starts in.
 */

import { E820_RAM } from '../../boot/e820.ts';
import { PT_LOAD } from '../../boot/elf.ts';
import type { EntryState } from '../../boot/entry.ts';
import { ImageError, type KernelImage } from '../../boot/image.ts';
import type { BootRequest, HypervisorContext } from '../../paravirt/operations.ts';
import type { Segment } from '../../paravirt/processor.ts';
import type { Data } from '../../state/state.ts';
import { DR6_FIXED, DR7_FIXED } from '../../x86/control.ts';
import { PAGE_SIZE, PTE_A, PTE_D, PTE_P, PTE_RW, PTE_US } from '../../x86/paging.ts';
import { VMASST_TYPE_pae_extended_cr3 } from '../xen/constants.ts';
import { writeWallclock } from '../xen/time.ts';
import { connectToolstack } from '../xen/toolstack.ts';
import type { PvAbi } from './abi.ts';
import { abi32 } from './abi32.ts';
import { abi64 } from './abi64.ts';
import { RFLAGS_FIXED, RFLAGS_IF } from './bounce.ts';
import { publish } from './cells.ts';
import { CR0, CR4, EFER } from './control-registers.ts';
import { type Layout, layOut, type TableCounts } from './layout.ts';
import { PvDomain } from './pv-domain.ts';
import { SIF_MOD_START_PFN, writeStartInfo } from './start-info.ts';

/** Features a kernel may insist on (public/features.h); it gets the write-trapping kind of writable page tables. */
const PROVIDED = new Set([
  'writable_page_tables',
  'pae_pgdir_above_4gb',
  'mmu_pt_update_preserve_ad',
  'highmem_assist',
  'gnttab_map_avail_bits',
  'memory_op_vnode_supported',
  'direct_mapped',
]);

/** Table entries as the toolstack writes them: Xen adds the user bit where it is missing. */
const TABLE_FLAGS = PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D;
const PAGE_FLAGS = PTE_P | PTE_RW | PTE_A;
const TABLE_PAGE_FLAGS = PTE_P | PTE_A;

export function refusesImage(image: KernelImage): string | undefined {
  const { xen, elf } = image;
  if (!elf) return 'it is no ELF file, and not packed as one';
  if (xen.source === 'none') return 'it has no Xen notes, so it was built without CONFIG_XEN_PV';
  if (xen.source === 'notes' && xen.phys32Entry !== undefined && xen.virtBase === undefined && xen.entry === undefined)
    return 'it has only a PVH entry; use --hypervisor xen-pvh';
  if (xen.xenVersion !== undefined && !xen.xenVersion.startsWith('xen-3.0')) return `it is for ${xen.xenVersion}`;
  if (!xen.loader?.startsWith('generic') && !xen.guestOs?.startsWith('linux'))
    return `it asks for the loader ${xen.loader}`;
  if (elf.class === 32 && !/^(yes|bimodal)/.test(xen.paeMode ?? 'no'))
    return 'it is a 32-bit kernel without PAE, which Xen has not run since 2009; use one with CONFIG_X86_PAE';
  const missing = xen.features.find(feature => feature.startsWith('!') && !PROVIDED.has(feature.slice(1)));
  return missing && `it insists on ${missing.slice(1)}, which Xen does not offer`;
}

/** The request as it concerns a guest of `width`: the list of frames of a 32-bit one never has an address of its own. */
function ofWidth(request: BootRequest, width: 32 | 64): BootRequest {
  if (width === 64) return request;
  const { image } = request;
  return { ...request, image: { ...image, xen: { ...image.xen, initP2m: undefined } } };
}

/** Builds the domain. @throws ImageError if the image cannot be loaded. */
export function buildDomain(asked: BootRequest, context: HypervisorContext): { pv: PvDomain; entry: EntryState } {
  const refusal = refusesImage(asked.image);
  if (refusal) throw new ImageError(`this kernel cannot be a Xen PV guest: ${refusal}`);
  const abi = asked.image.elf?.class === 32 ? abi32 : abi64;
  if (abi.width === 32 && context.cpus.length > 1)
    throw new ImageError(
      'a 32-bit Xen PV guest can have one processor here: leave out --cpus, or take a 64-bit kernel',
    );
  const request = ofWidth(asked, abi.width);
  const extendedCr3 = /extended-cr3|bimodal/.test(request.image.xen.paeMode ?? '');
  const pv = new PvDomain(context, abi);
  const { domain } = pv;
  const { memory } = context;
  if (abi.levels === 3 && extendedCr3) domain.state.assists.add(VMASST_TYPE_pae_extended_cr3);
  const layout = layOut(request.image, request.initrd?.length ?? 0, domain.pages, abi);
  loadKernel(request, layout);
  if (request.initrd) memory.copyIn(layout.initrd.first * PAGE_SIZE, request.initrd);
  writeP2m(pv, layout);
  buildTables(pv, layout, request.image.xen.initP2m);
  fillHypercallPage(request, layout, pv.abi);

  domain.state.memoryMap = [{ address: 0, size: domain.pages * PAGE_SIZE, type: E820_RAM }];
  domain.xenstoreRing.address = layout.xenstore * PAGE_SIZE;
  domain.consoleRing.address = layout.console * PAGE_SIZE;
  connectToolstack(domain);
  announce(pv, layout, request);
  writeWallclock(domain);
  for (const vcpu of domain.vcpus) vcpu.time.updateRecord(true);
  return { pv, entry: enter(pv, layout) };
}

/** The domain without a guest in it, to be restored. @param saved the domain's state: it says how wide the guest is */
export function rebuildDomain(context: HypervisorContext, saved: Data): PvDomain {
  const width = typeof saved === 'object' && 'width' in saved ? saved.width : undefined;
  const pv = new PvDomain(context, width === abi32.width ? abi32 : abi64);
  const { domain } = pv;
  // Where the guest has pages: where the rings really are is among what is restored.
  domain.xenstoreRing.address = 0;
  domain.consoleRing.address = PAGE_SIZE;
  connectToolstack(domain);
  return pv;
}

/** Writes start_info, when everything in it is known. */
function announce(pv: PvDomain, layout: Layout, request: BootRequest): void {
  const { domain } = pv;
  const { xen } = request.image;
  const at = (pfn: number) => layout.virtBase + BigInt(pfn * PAGE_SIZE);
  const initrd = request.initrd?.length ?? 0;
  writeStartInfo(domain.memory, layout.startInfo * PAGE_SIZE, pv.abi, {
    nrPages: domain.pages,
    sharedInfo: domain.sharedInfo.address,
    flags: initrd && xen.modStartPfn ? SIF_MOD_START_PFN : 0,
    storeFrame: layout.xenstore,
    storePort: domain.state.xenstorePort,
    consoleFrame: layout.console,
    consolePort: domain.state.consolePort,
    ptBase: at(layout.tables.first),
    nrPtFrames: layout.tables.pages,
    mfnList: xen.initP2m ?? at(layout.p2m.first),
    modStart: initrd === 0 ? 0n : xen.modStartPfn ? BigInt(layout.initrd.first) : at(layout.initrd.first),
    modLength: xen.modStartPfn ? layout.initrd.pages * PAGE_SIZE : initrd,
    commandLine: request.commandLine,
    firstP2mPfn: xen.initP2m === undefined ? 0 : layout.p2m.first,
    nrP2mFrames: xen.initP2m === undefined ? 0 : layout.p2m.pages,
  });
}

function loadKernel({ image, memory }: BootRequest, layout: Layout): void {
  const elf = image.elf!;
  for (const segment of elf.segments) {
    if (segment.type !== PT_LOAD) continue;
    const bytes = elf.bytes.subarray(segment.offset, segment.offset + segment.fileSize);
    memory.copyIn(Number(segment.physicalAddress + layout.loadOffset), bytes);
  }
}

/** The list of frames by page, and its inverse: a page's frame has the page's own number. */
function writeP2m(pv: PvDomain, layout: Layout): void {
  const { words } = pv.info;
  const start = layout.p2m.first * 1024;
  const step = pv.abi.long / 4;
  for (let frame = 0; frame < pv.domain.pages; frame++) {
    words[start + step * frame] = frame;
    if (step === 2) words[start + step * frame + 1] = 0;
    pv.area.setM2p(frame, frame, 0);
  }
}

/** Writes the tables of both mappings, has them checked, pins the root and makes it the kernel's. */
function buildTables(pv: PvDomain, layout: Layout, initP2m: bigint | undefined): void {
  const { tables } = layout;
  const { levels, long } = pv.abi;
  const listPages = Math.ceil((pv.domain.pages * long) / PAGE_SIZE);
  const isTable = (frame: number) =>
    (frame >= tables.first && frame < tables.first + tables.pages) ||
    (initP2m !== undefined && frame >= layout.p2m.first + listPages && frame < layout.p2m.first + layout.p2m.pages);
  const map = (start: bigint, first: number, pages: number, counts: TableCounts, l3: number) => {
    const l2 = l3 + counts.l3;
    const l1 = l2 + counts.l2;
    if (levels === 4) link(pv, tables.first, start, counts.l3, 39n, l3);
    link(pv, levels === 4 ? l3 : tables.first, start, counts.l2, 30n, l2);
    link(pv, l2, start, counts.l1, 21n, l1);
    const startPage = Number(BigInt.asUintN(21, start) >> 12n);
    for (let i = 0; i < pages; i++) {
      const at = l1 * 1024 + 2 * (startPage + i);
      pv.info.words[at] = (((first + i) << 12) | (isTable(first + i) ? TABLE_PAGE_FLAGS : PAGE_FLAGS)) >>> 0;
    }
  };
  map(layout.virtBase, 0, layout.mappedPages, layout.tableCounts, tables.first + 1);
  if (initP2m !== undefined) map(initP2m, layout.p2m.first, listPages, layout.p2mTables, layout.p2m.first + listPages);

  const error = pv.types.get(tables.first, levels);
  if (error !== 0) throw new Error(`the initial page tables do not pass their own check: ${error}`);
  pv.info.setPinned(tables.first, true);
  // The second reference is the kernel root's.
  pv.types.get(tables.first, levels);
  pv.vcpus[0]!.kernelRoot = tables.first;
  publish(pv.vcpus[0]!);
}

/**
 * Enters `count` tables from frame `child` on into the table `parent`, or into the tables that follow it, from the slot of
 * `start`.
 */
function link(pv: PvDomain, parent: number, start: bigint, count: number, shift: bigint, child: number): void {
  const slot = Number((start >> shift) & 511n);
  for (let i = 0; i < count; i++)
    pv.info.words[parent * 1024 + 2 * (slot + i)] = (((child + i) << 12) | TABLE_FLAGS) >>> 0;
}

/** Fills the page that the kernel keeps for hypercalls, if it does. */
function fillHypercallPage({ image, memory }: BootRequest, layout: Layout, abi: PvAbi): void {
  const { hypercallPage } = image.xen;
  if (hypercallPage === undefined) return;
  const address = Number(BigInt.asUintN(abi.width, hypercallPage) - layout.virtBase);
  if (
    !Number.isSafeInteger(address) ||
    address < 0 ||
    address % PAGE_SIZE !== 0 ||
    address >= layout.mappedPages * PAGE_SIZE
  )
    throw new ImageError("the kernel's hypercall page lies outside the kernel");
  memory.copyIn(address, abi.hypercallPage());
}

/** No segment. In TR: no task, so that every port is asked of Xen. */
const none: Segment = { selector: 0, base: 0n, limit: 0, attributes: 0 };

function enter(pv: PvDomain, layout: Layout): EntryState {
  const at = (pfn: number) => layout.virtBase + BigInt(pfn * PAGE_SIZE);
  const stackTop = at(layout.stack + 1);
  const v = pv.vcpus[0]!;
  v.kernelSp = stackTop;
  return {
    registers: {
      rip: layout.entry,
      rsp: stackTop,
      rsi: at(layout.startInfo),
      flags: RFLAGS_FIXED | RFLAGS_IF,
      cr0: CR0,
      cr3: pv.roots.cr3(layout.tables.first),
      cr4: CR4,
      efer: EFER,
      dr6: BigInt(DR6_FIXED),
      dr7: BigInt(DR7_FIXED),
      gdtBase: pv.area.gdtBase(0),
      gdtLimit: 0xffffn,
    },
    segments: { ...pv.abi.segments, ldtr: none, tr: none },
  };
}
