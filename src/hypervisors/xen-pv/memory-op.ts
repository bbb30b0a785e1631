/**
 * HYPERVISOR_memory_op in a PV guest: giving frames back, getting them again, and exchanging scattered ones for a run.
 */
import { EFAULT, EINVAL, ENOMEM } from '../xen/constants.ts';
import type { Call, HypercallTable } from '../xen/hypercall.ts';
import {
  memory_op,
  overExtents,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_increase_reservation,
  XENMEM_machphys_mapping,
  XENMEM_populate_physmap,
  xen_memory_reservation,
} from '../xen/hypercalls/memory-op.ts';
import { longBytes, longs, structure } from '../xen/structures.ts';
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

export function pvMemoryOp(domain: () => PvDomain): HypercallTable {
  return memory_op({
    // Frames without a place in the guest's memory; the guest gives them one with mmu_update.
    [XENMEM_increase_reservation]: overExtents((_, __, order) => populate(domain(), undefined, order) ?? false),
    [XENMEM_decrease_reservation]: overExtents((_, frame, order) =>
      release(domain(), frame, order) ? undefined : false,
    ),
    [XENMEM_populate_physmap]: overExtents((_, pfn, order) => populate(domain(), pfn, order) ?? false),
    [XENMEM_exchange]: (call, argument) => exchange(domain(), call, argument),
    [XENMEM_machphys_mapping]: (call, argument) => {
      const layout = xen_machphys_mapping[call.width];
      const bytes = new Uint8Array(layout.size);
      const { start, end, maxFrame } = domain().abi.m2p;
      layout.encode(bytes, { v_start: start, v_end: end, max_mfn: maxFrame });
      return call.write(argument, bytes) ? 0 : -EFAULT;
    },
  });
}
