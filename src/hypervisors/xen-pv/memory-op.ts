/**
 * HYPERVISOR_memory_op in a PV guest: giving frames back, getting them again, and exchanging scattered ones for a run.
 */
import { EACCES, EDOM, EFAULT, EINVAL, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../xen/constants.ts';
import type { Call, HypercallTable, Operation } from '../xen/hypercall.ts';
import {
  memory_op,
  overExtents,
  startExtent,
  whole,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_gmfn_range,
  XENMEM_acquire_resource,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_increase_reservation,
  XENMEM_machine_memory_map,
  XENMEM_machphys_mapping,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  xen_add_to_physmap,
  xen_add_to_physmap_batch,
  xen_mem_acquire_resource,
  xen_memory_reservation,
  xen_remove_from_physmap,
} from '../xen/hypercalls/memory-op.ts';
import { type Fields, longBytes, longs, type Structure, structure } from '../xen/structures.ts';
import type { PvDomain } from './pv-domain.ts';

const MAX_EXCHANGE_ORDER = 9;
/** Frames one exchange may move before it would hold up the machine. */
const MAX_EXCHANGE = 512 * 512;

const xen_machphys_mapping = structure({ v_start: 'ulong', v_end: 'ulong', max_mfn: 'ulong' });

/** Gives 2^`order` frames from `first` back; false if one is not the domain's. */
function release(pv: PvDomain, first: number, order: number): boolean {
  for (let frame = first; frame < first + 2 ** order; frame++) {
    if (!pv.info.isAllocated(frame)) return false;
    pv.area.clearM2p(frame);
    pv.info.deallocate(frame);
    pv.domain.state.reservation--;
  }
  return true;
}

/**
 * Takes 2^`order` frames in a row and puts them at `pfn` in the guest's memory. @returns the first, undefined if there
 * are none.
 */
function populate(pv: PvDomain, pfn: number | undefined, order: number): number | undefined {
  if (pv.domain.state.reservation + 2 ** order > pv.domain.pages) return undefined;
  const first = pv.info.allocate(order);
  if (first === undefined) return undefined;
  for (let i = 0; i < 2 ** order; i++) {
    if (pfn === undefined) pv.area.clearM2p(first + i);
    else pv.area.setM2p(first + i, (pfn + i) >>> 0, Math.floor((pfn + i) / 2 ** 32));
  }
  pv.domain.state.reservation += 2 ** order;
  return first;
}

/** XENMEM_exchange: every frame of the `in` extents goes back, and as many come as runs of the `out` order. */
function exchange(pv: PvDomain, call: Call, argument: bigint): number {
  const input = call.load(argument, xen_memory_reservation);
  // struct xen_memory_exchange: two reservations, then nr_exchanged.
  const { size } = xen_memory_reservation[call.width];
  const output = call.load(argument + BigInt(size), xen_memory_reservation);
  const done = argument + BigInt(2 * size);
  const progress = call.read(done, call.width / 8);
  if (!input || !output || !progress) return -EFAULT;
  if (progress.some(byte => byte !== 0)) return -EINVAL;
  if (!call.domain.isSelf(input.domid) || !call.domain.isSelf(output.domid)) return -EINVAL;
  if (input.extent_order > MAX_EXCHANGE_ORDER || output.extent_order > MAX_EXCHANGE_ORDER) return -EINVAL;
  const total = input.nr_extents << BigInt(input.extent_order);
  if (total !== output.nr_extents << BigInt(output.extent_order)) return -EINVAL;
  if (total > BigInt(MAX_EXCHANGE)) return -ENOMEM;
  const firsts = readNumbers(call, input.extent_start, Number(input.nr_extents));
  const pfns = readNumbers(call, output.extent_start, Number(output.nr_extents));
  if (!firsts || !pfns) return -EFAULT;
  const frames = new Set(firsts.flatMap(first => Array.from({ length: 2 ** input.extent_order }, (_, i) => first + i)));
  // A frame that is mapped or typed anywhere cannot be taken away from under its users.
  if (frames.size !== Number(total) || [...frames].some(frame => !pv.info.isIdle(frame))) return -EINVAL;
  // Whether runs can be had is known only with the frames given back; until then their contents are not missed.
  for (const frame of frames) release(pv, frame, 0);
  const got: number[] = [];
  for (const pfn of pfns) {
    const first = populate(pv, pfn, output.extent_order);
    if (first === undefined) break;
    got.push(first);
  }
  if (got.length === pfns.length) return writeResult(call, output.extent_start, got, done, firsts.length);
  return undoExchange(pv, got, output.extent_order, firsts, input.extent_order);
}

/** No runs to be had: the guest gets its own frames back, empty, and is told so. */
function undoExchange(pv: PvDomain, got: number[], outOrder: number, firsts: number[], inOrder: number): number {
  for (const first of got) release(pv, first, outOrder);
  for (const first of firsts)
    for (let frame = first; frame < first + 2 ** inOrder; frame++) {
      pv.info.reclaim(frame);
      pv.domain.state.reservation++;
    }
  return -ENOMEM;
}

function readNumbers(call: Call, address: bigint, count: number): number[] | undefined {
  const bytes = call.read(address, (count * call.width) / 8);
  return bytes && longs(bytes, call.width);
}

function writeResult(call: Call, list: bigint, frames: number[], done: bigint, exchanged: number): number {
  const { width } = call;
  return call.write(list, longBytes(frames, width)) && call.write(done, longBytes([exchanged], width)) ? 0 : -EFAULT;
}

/** What comes of placing a page among a domain's frames: neither this domain nor domain 0 has such a place. */
function untranslated(call: Call, op: { domid: number } | undefined): number {
  if (!op) return -EFAULT;
  return call.domain.exists(op.domid) ? -EACCES : -ESRCH;
}

/** XENMEM_add_to_physmap and its batch: `refusals` are the spaces that each does not know, with the error for it. */
function toPhysmap<F extends Fields & { domid: 'u16'; space: 'u16' | 'u32' }>(
  type: Structure<F>,
  refusals: Readonly<Record<number, number>>,
): Operation {
  return (call, argument) => {
    if (startExtent(call) > 0xffffn) return -EDOM;
    const op = call.load(argument, type) as { domid: number; space: number } | undefined;
    const refusal = op && refusals[op.space];
    return refusal === undefined ? untranslated(call, op) : -refusal;
  };
}

/** XENMEM_acquire_resource, of another domain alone, which a domain must be privileged for. */
function acquireResource(call: Call, argument: bigint): number {
  const op = call.load(argument, xen_mem_acquire_resource);
  if (!op) return -EFAULT;
  if (op.pad !== 0 || op.frame >> 32n !== 0n || (op.frame + BigInt(op.nr_frames)) >> 32n !== 0n) return -EINVAL;
  return op.domid === 0 || op.domid === call.domain.id ? -EPERM : -ESRCH;
}

export function pvMemoryOp(domain: () => PvDomain): HypercallTable {
  return memory_op({
    // Frames without a place in the guest's memory; the guest gives them one with mmu_update.
    [XENMEM_increase_reservation]: overExtents((_, __, order) => populate(domain(), undefined, order) ?? false),
    [XENMEM_decrease_reservation]: overExtents((_, frame, order) =>
      release(domain(), frame, order) ? undefined : false,
    ),
    [XENMEM_populate_physmap]: overExtents((_, pfn, order) => populate(domain(), pfn, order) ?? false),
    [XENMEM_exchange]: whole((call, argument) => exchange(domain(), call, argument)),
    // For dom0 only.
    [XENMEM_machine_memory_map]: whole(() => -EPERM, ENOSYS),
    [XENMEM_add_to_physmap]: toPhysmap(xen_add_to_physmap, { [XENMAPSPACE_gmfn_foreign]: ENOSYS }),
    [XENMEM_add_to_physmap_batch]: toPhysmap(xen_add_to_physmap_batch, { [XENMAPSPACE_gmfn_range]: EOPNOTSUPP }),
    [XENMEM_remove_from_physmap]: whole((call, argument) =>
      untranslated(call, call.load(argument, xen_remove_from_physmap)),
    ),
    [XENMEM_acquire_resource]: acquireResource,
    [XENMEM_machphys_mapping]: (call, argument) => {
      const layout = xen_machphys_mapping[call.width];
      const bytes = new Uint8Array(layout.size);
      const { start, end, maxFrame } = domain().abi.m2p;
      layout.encode(bytes, { v_start: start, v_end: end, max_mfn: maxFrame });
      return call.write(argument, bytes) ? 0 : -EFAULT;
    },
  });
}
