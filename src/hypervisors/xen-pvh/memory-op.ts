/** memory_op for a guest whose frame numbers are guest-physical: placing the hypervisor's frames, and the balloon. */
import { PAGE_SIZE } from '../../x86/paging.ts';
import { EFAULT, EINVAL, EPERM, ESRCH } from '../xen/constants.ts';
import { MAX_GRANT_FRAMES } from '../xen/domain.ts';
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

/** Guest frame numbers end where 52-bit physical addresses do. */
const MAX_FRAME = 1n << 40n;

function addToPhysmap(pvh: PvhDomain, call: Call, argument: bigint): number {
  const op = call.load(argument, xen_add_to_physmap);
  if (!op) return -EFAULT;
  if (!call.domain.isSelf(op.domid)) return op.domid === 0 ? -EPERM : -ESRCH;
  if (op.gpfn >= MAX_FRAME) return -EINVAL;
  const { grants, sharedInfo } = call.domain;
  let frame = op.space === XENMAPSPACE_shared_info && op.idx === 0n ? sharedInfo : undefined;
  if (op.space === XENMAPSPACE_grant_table && op.idx < BigInt(MAX_GRANT_FRAMES)) {
    // Asking for a frame of the grant table makes the table that long.
    const index = Number(op.idx);
    if (grants.grow(index + 1)) frame = grants.frames[index];
  }
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
