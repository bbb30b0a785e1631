/** memory_op for a guest whose frame numbers are guest-physical: placing the hypervisor's frames, and the balloon. */
import { PAGE_SIZE } from '../../x86/paging.ts';
import { EFAULT, EINVAL, EPERM, ESRCH } from '../xen/constants.ts';
import { MAX_FRAME, MAX_GRANT_FRAMES, type SharedFrame } from '../xen/domain.ts';
import type { GrantTable } from '../xen/grant-table.ts';
import type { Call, HypercallTable, Operation } from '../xen/hypercall.ts';
import {
  memory_op,
  overExtents,
  XENMEM_add_to_physmap,
  XENMEM_decrease_reservation,
  XENMEM_increase_reservation,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
} from '../xen/hypercalls/memory-op.ts';
import { structure } from '../xen/structures.ts';
import type { PvhDomain } from './pvh-domain.ts';

const xen_add_to_physmap = structure({ domid: 'u16', size: 'u16', space: 'u32', idx: 'ulong', gpfn: 'ulong' });
const xen_remove_from_physmap = structure({ domid: 'u16', gpfn: 'ulong' });

const XENMAPSPACE_shared_info = 0;
const XENMAPSPACE_grant_table = 1;
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

function addToPhysmap(pvh: PvhDomain, call: Call, argument: bigint): number {
  const op = call.load(argument, xen_add_to_physmap);
  if (!op) return -EFAULT;
  if (!call.domain.isSelf(op.domid)) return op.domid === 0 ? -EPERM : -ESRCH;
  if (op.gpfn >= MAX_FRAME) return -EINVAL;
  const { grants, sharedInfo } = call.domain;
  let frame = op.space === XENMAPSPACE_shared_info && op.idx === 0n ? sharedInfo : undefined;
  if (op.space === XENMAPSPACE_grant_table) frame = grantFrame(grants, op.idx);
  return frame && pvh.place(frame, Number(op.gpfn)) ? 0 : -EINVAL;
}

function removeFromPhysmap(pvh: PvhDomain, call: Call, argument: bigint): number {
  const op = call.load(argument, xen_remove_from_physmap);
  if (!op) return -EFAULT;
  if (!call.domain.isSelf(op.domid)) return op.domid === 0 ? -EPERM : -ESRCH;
  return op.gpfn < MAX_FRAME && pvh.removePlace(Number(op.gpfn)) ? 0 : -EINVAL;
}

/** The balloon, one way or the other, over the 2^order pages of each extent. */
function balloon(pvh: () => PvhDomain, out: boolean): Operation {
  return overExtents((call, frame, order) => {
    const { domain, state } = pvh();
    const count = 2 ** order;
    if (!(frame >= 0 && frame + count <= domain.pages)) return false;
    for (let each = frame; each < frame + count; each++) if (state.ballooned[each] === (out ? 1 : 0)) return false;
    for (let each = frame; each < frame + count; each++) {
      state.ballooned[each] = out ? 1 : 0;
      // Memory comes back empty.
      if (out) call.domain.memory.fill(each * PAGE_SIZE, PAGE_SIZE);
    }
    domain.state.reservation += out ? -count : count;
    return undefined;
  });
}

export function pvhMemoryOp(domain: () => PvhDomain): HypercallTable {
  return memory_op({
    // Memory without a place: there is none, so no extent is done.
    [XENMEM_increase_reservation]: () => 0,
    [XENMEM_decrease_reservation]: balloon(domain, true),
    [XENMEM_populate_physmap]: balloon(domain, false),
    [XENMEM_add_to_physmap]: (call, argument) => addToPhysmap(domain(), call, argument),
    [XENMEM_remove_from_physmap]: (call, argument) => removeFromPhysmap(domain(), call, argument),
  });
}
