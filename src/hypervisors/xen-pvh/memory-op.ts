/** memory_op for a guest whose frame numbers are guest-physical: placing the hypervisor's frames, and the balloon. */
import {
  EACCES,
  EDOM,
  EFAULT,
  EILSEQ,
  EINVAL,
  ENOENT,
  ENOSYS,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  ESRCH,
} from '../xen/constants.ts';
import { MAX_FRAME, MAX_GRANT_FRAMES, type SharedFrame } from '../xen/domain.ts';
import type { GrantTable } from '../xen/grant-table.ts';
import type { Call, HypercallTable, Operation } from '../xen/hypercall.ts';
import {
  memory_op,
  overExtents,
  startExtent,
  whole,
  XENMAPSPACE_dev_mmio,
  XENMAPSPACE_gmfn,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_gmfn_range,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
  XENMEM_acquire_resource,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  XENMEM_decrease_reservation,
  XENMEM_increase_reservation,
  XENMEM_machine_memory_map,
  XENMEM_machphys_mapping,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  xen_add_to_physmap,
  xen_add_to_physmap_batch,
  xen_remove_from_physmap,
} from '../xen/hypercalls/memory-op.ts';
import type { PvhDomain } from './pvh-domain.ts';

/** In `idx`: the frame is one of the status frames, which version 2 has. */
const XENMAPIDX_grant_table_status = 1n << 31n;
const GRANT_FRAMES_PER_STATUS_FRAME = 8;

/** The frame of the grant table that `index` names. Asking for one makes the table that long. */
function grantFrame(grants: GrantTable, index: bigint): SharedFrame | undefined {
  const ofStatus = grants.version === 2 && (index & XENMAPIDX_grant_table_status) !== 0n;
  const number = ofStatus ? index & ~XENMAPIDX_grant_table_status : index;
  if (number >= BigInt(MAX_GRANT_FRAMES)) return undefined;
  const at = Number(number);
  // A status frame is there with the first of the frames whose status it holds.
  grants.grow(ofStatus ? at * GRANT_FRAMES_PER_STATUS_FRAME + 1 : at + 1);
  return (ofStatus ? grants.statusFrames : grants.frames)[at];
}

/** Puts one frame of a space in its place. @returns 0 or a negated error */
function addOne(pvh: PvhDomain, space: number, index: bigint, gpfn: bigint): number {
  const { grants, sharedInfo } = pvh.domain;
  let frame: SharedFrame | undefined;
  if (space === XENMAPSPACE_shared_info && index === 0n) frame = sharedInfo;
  if (space === XENMAPSPACE_grant_table) frame = grantFrame(grants, index);
  if (space === XENMAPSPACE_gmfn) return pvh.movePage(index, gpfn);
  return frame && gpfn < MAX_FRAME && pvh.place(frame, Number(gpfn)) ? 0 : -EINVAL;
}

/** The domain that a guest names, if its frames are a guest's to place: 0 or a negated error. */
function checkPlacing(call: Call, domid: number, space: number): number {
  if (!call.domain.exists(domid)) return -ESRCH;
  // Domain 0 is a PV domain.
  return call.domain.isSelf(domid) && space !== XENMAPSPACE_dev_mmio ? 0 : -EACCES;
}

function addToPhysmap(pvh: PvhDomain, call: Call, argument: bigint): number {
  const start = startExtent(call);
  if (start > 0xffffn) return -EDOM;
  const op = call.load(argument, xen_add_to_physmap);
  if (!op) return -EFAULT;
  if (op.space === XENMAPSPACE_gmfn_foreign) return -ENOSYS;
  const error = checkPlacing(call, op.domid, op.space);
  if (error) return error;
  const last = 2n ** BigInt(call.width) - 1n;
  if (op.gpfn === last) return -EINVAL;
  if (op.space !== XENMAPSPACE_gmfn_range) return addOne(pvh, op.space, op.idx, op.gpfn);
  if (BigInt(op.size) < start) return -EILSEQ;
  if (op.gpfn + BigInt(op.size) > last || op.idx + BigInt(op.size) > last) return -EOVERFLOW;
  for (let each = start; each < BigInt(op.size); each++) {
    const result = addOne(pvh, XENMAPSPACE_gmfn, op.idx + each, op.gpfn + each);
    if (result) return result;
  }
  return 0;
}

/** XENMEM_add_to_physmap_batch: frame by frame, with an error for each. */
function addBatch(pvh: PvhDomain, call: Call, argument: bigint): number {
  const start = startExtent(call);
  if (start > 0xffffn) return -EDOM;
  const op = call.load(argument, xen_add_to_physmap_batch);
  if (!op) return -EFAULT;
  if (op.space === XENMAPSPACE_gmfn_range) return -EOPNOTSUPP;
  const error = checkPlacing(call, op.domid, op.space);
  if (error) return error;
  if (BigInt(op.size) <= start) return start === 0n ? 0 : -EILSEQ;
  const long = call.width / 8;
  const number = (list: bigint, at: number): bigint | undefined => {
    const bytes = call.read(list + BigInt(at * long), long);
    const view = bytes && new DataView(bytes.buffer, bytes.byteOffset);
    return view && (long === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true)));
  };
  for (let at = Number(start); at < op.size; at++) {
    const index = number(op.idxs, at);
    const gpfn = number(op.gpfns, at);
    if (index === undefined || gpfn === undefined) return -EFAULT;
    // Pages of another domain: of this one itself never, and of domain 0 not for such a guest.
    const foreign = call.domain.exists(op.foreign_domid) && !call.domain.isSelf(op.foreign_domid) ? -EPERM : -EINVAL;
    const result = op.space === XENMAPSPACE_gmfn_foreign ? foreign : addOne(pvh, op.space, index, gpfn);
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setInt32(0, result, true);
    if (!call.write(op.errs + BigInt(4 * at), bytes)) return -EFAULT;
  }
  return 0;
}

function removeFromPhysmap(pvh: PvhDomain, call: Call, argument: bigint): number {
  const op = call.load(argument, xen_remove_from_physmap);
  if (!op) return -EFAULT;
  const error = checkPlacing(call, op.domid, XENMAPSPACE_gmfn);
  if (error) return error;
  return op.gpfn < MAX_FRAME && pvh.removePlace(Number(op.gpfn)) ? 0 : -ENOENT;
}

/**
 * The balloon, one way or the other, over the 2^order pages of each extent. A page that comes back may come anywhere
 * where there is nothing.
 */
function balloon(pvh: () => PvhDomain, change: (pvh: PvhDomain, frame: number) => boolean): Operation {
  return overExtents((_, frame, order) => {
    if (!(frame + 2 ** order <= Number(MAX_FRAME))) return false;
    for (let each = 0; each < 2 ** order; each++) if (!change(pvh(), frame + each)) return false;
    return undefined;
  });
}

export function pvhMemoryOp(domain: () => PvhDomain): HypercallTable {
  return memory_op({
    // Memory without a place: there is none, so no extent is done.
    [XENMEM_increase_reservation]: overExtents(() => false),
    [XENMEM_decrease_reservation]: balloon(domain, (pvh, frame) => pvh.balloon.giveBack(frame)),
    [XENMEM_populate_physmap]: balloon(domain, (pvh, frame) => pvh.balloon.populate(frame)),
    // What a guest with translated frames is not asked about (hvm_memory_op).
    [XENMEM_machine_memory_map]: () => -ENOSYS,
    [XENMEM_machphys_mapping]: () => -ENOSYS,
    [XENMEM_add_to_physmap]: (call, argument) => addToPhysmap(domain(), call, argument),
    [XENMEM_add_to_physmap_batch]: (call, argument) => addBatch(domain(), call, argument),
    [XENMEM_remove_from_physmap]: whole((call, argument) => removeFromPhysmap(domain(), call, argument)),
    [XENMEM_acquire_resource]: () => -EACCES,
  });
}
