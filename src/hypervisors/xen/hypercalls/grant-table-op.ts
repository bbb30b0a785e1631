/** HYPERVISOR_grant_table_op (public/grant_table.h). A guest here grants and copies; nobody grants anything to it. */
import { PAGE_SIZE } from '../../../x86/paging.ts';
import { __HYPERVISOR_grant_table_op, EFAULT, EINVAL, ENOSYS } from '../constants.ts';
import { MAX_GRANT_FRAMES } from '../domain.ts';
import { type Call, type HypercallTable, type Operations, operate } from '../hypercall.ts';
import { type Fields, type Structure, structure, type Values } from '../structures.ts';

const GNTTABOP_map_grant_ref = 0;
const GNTTABOP_unmap_grant_ref = 1;
const GNTTABOP_setup_table = 2;
const GNTTABOP_dump_table = 3;
const GNTTABOP_copy = 5;
const GNTTABOP_query_size = 6;
const GNTTABOP_set_version = 8;
const GNTTABOP_get_version = 10;

/** Results in the structures' `status` fields (GNTST_*). */
const GNTST_okay = 0;
const GNTST_general_error = -1;
const GNTST_bad_domain = -2;
const GNTST_bad_gntref = -3;
const GNTST_bad_handle = -4;
const GNTST_permission_denied = -8;
const GNTST_bad_page = -9;
const GNTST_bad_copy_arg = -10;

const gnttab_map_grant_ref = structure({
  host_addr: 'u64',
  flags: 'u32',
  ref: 'u32',
  dom: 'u16',
  status: 's16',
  handle: 'u32',
  dev_bus_addr: 'u64',
});
const gnttab_unmap_grant_ref = structure({ host_addr: 'u64', dev_bus_addr: 'u64', handle: 'u32', status: 's16' });
const gnttab_setup_table = structure({ dom: 'u16', nr_frames: 'u32', status: 's16', frame_list: 'handle' });
const gnttab_dump_table = structure({ dom: 'u16', status: 's16' });
const gnttab_copy = structure({
  source: 'ulong', // union: u32 ref or gmfn
  source_domid: 'u16',
  source_offset: 'u16',
  dest: 'ulong',
  dest_domid: 'u16',
  dest_offset: 'u16',
  len: 'u16',
  flags: 'u16',
  status: 's16',
});
const gnttab_query_size = structure({ dom: 'u16', nr_frames: 'u32', max_nr_frames: 'u32', status: 's16' });
const gnttab_set_version = structure({ version: 'u32' });
const gnttab_get_version = structure({ dom: 'u16', pad: 'u16', version: 'u32' });

const GNTCOPY_source_gref = 1;
const GNTCOPY_dest_gref = 2;

/** Structures of an array done in one go; the rest after the guest's interrupts had their turn. */
const BATCH = 256;

/** Runs `each` over the array at argument 1, storing what it returns; stops at the first fault. */
function forEach<F extends Fields>(
  type: Structure<F>,
  each: (call: Call, values: Values<F>) => Partial<Values<F>> | number,
): (call: Call) => number {
  return call => {
    const { size } = type[call.width];
    let address = call.argument(1);
    let left = call.uint(2);
    for (let done = 0; left > 0; done++, left--, address += BigInt(size)) {
      if (done === BATCH) return call.continueWith(call.argument(0), address, BigInt(left));
      const values = call.load(address, type);
      if (!values) return -EFAULT;
      const result = each(call, values);
      if (typeof result === 'number') return result;
      if (call.store(address, type, result) < 0) return -EFAULT;
    }
    return 0;
  };
}

/**
 * Address of one side of a copy: a frame of the caller's, or a grant it gave to itself. A negative number is a status.
 */
function copySide(call: Call, side: bigint, isReference: boolean, domid: number, write: boolean): number {
  if (!call.domain.isSelf(domid)) return GNTST_bad_domain;
  if (!isReference) {
    const frame = side <= 0xffffffffffn ? call.domain.kind.frame(call.domain, Number(side), write) : undefined;
    return frame ?? GNTST_bad_page;
  }
  const reference = Number(side & 0xffffffffn);
  return call.domain.grants.resolve(reference, call.domain.id, write) ?? GNTST_bad_gntref;
}

const operations: Operations = {
  [GNTTABOP_map_grant_ref]: forEach(gnttab_map_grant_ref, () => ({ status: GNTST_bad_domain })),
  [GNTTABOP_unmap_grant_ref]: forEach(gnttab_unmap_grant_ref, () => ({ status: GNTST_bad_handle })),
  // Xen takes exactly one.
  [GNTTABOP_setup_table](call) {
    if (call.uint(2) !== 1) return -EINVAL;
    const op = call.load(call.argument(1), gnttab_setup_table);
    if (!op) return -EFAULT;
    const { domain } = call;
    let status = GNTST_okay;
    if (!domain.isSelf(op.dom)) status = op.dom === 0 ? GNTST_permission_denied : GNTST_bad_domain;
    else if (op.nr_frames > MAX_GRANT_FRAMES || !domain.grants.grow(op.nr_frames)) status = GNTST_general_error;
    else {
      const long = call.width / 8;
      const list = new Uint8Array(op.nr_frames * long);
      const view = new DataView(list.buffer);
      for (let index = 0; index < op.nr_frames; index++) {
        const frame = domain.kind.frameNumber(domain, domain.grants.frames[index]!.address);
        view.setUint32(index * long, frame, true);
      }
      if (list.length && !call.write(op.frame_list, list)) return -EFAULT;
    }
    return call.store(call.argument(1), gnttab_setup_table, { status });
  },
  // For Xen's own console, on which we have nothing to say. GRUB asks for it.
  [GNTTABOP_dump_table]: forEach(gnttab_dump_table, (call, op) => ({
    status: call.domain.isSelf(op.dom) ? GNTST_okay : GNTST_bad_domain,
  })),
  [GNTTABOP_copy]: forEach(gnttab_copy, (call, op) => {
    if (op.source_offset + op.len > PAGE_SIZE || op.dest_offset + op.len > PAGE_SIZE)
      return { status: GNTST_bad_copy_arg };
    const source = copySide(call, op.source, (op.flags & GNTCOPY_source_gref) !== 0, op.source_domid, false);
    if (source < 0) return { status: source };
    const dest = copySide(call, op.dest, (op.flags & GNTCOPY_dest_gref) !== 0, op.dest_domid, true);
    if (dest < 0) return { status: dest };
    const { memory } = call.domain;
    memory.copyIn(dest + op.dest_offset, memory.copyOut(source + op.source_offset, op.len));
    return { status: GNTST_okay };
  }),
  [GNTTABOP_query_size]: forEach(gnttab_query_size, (call, op) => {
    if (!call.domain.isSelf(op.dom)) return { status: op.dom === 0 ? GNTST_permission_denied : GNTST_bad_domain };
    return { status: GNTST_okay, nr_frames: call.domain.grants.frames.length, max_nr_frames: MAX_GRANT_FRAMES };
  }),
  // Only version 1 is there.
  [GNTTABOP_set_version](call) {
    const op = call.load(call.argument(1), gnttab_set_version);
    if (!op) return -EFAULT;
    if (op.version === 1) return 0;
    return op.version === 2 ? -ENOSYS : -EINVAL;
  },
  [GNTTABOP_get_version]: forEach(gnttab_get_version, () => ({ version: 1 })),
};

export const grant_table_op: HypercallTable = {
  [__HYPERVISOR_grant_table_op]: {
    name: 'HYPERVISOR_grant_table_op',
    arguments: ['cmd', 'uop', 'count'],
    status: 'partly',
    note: 'version 1; mapping finds no other domain that grants anything',
    run: call => (call.int(2) < 0 ? -EINVAL : operate('grant_table_op', operations, call)),
  },
};
