/**
 * HYPERVISOR_grant_table_op (public/grant_table.h). Back ends use a guest's grants without hypercalls; what is here lets
 * the guest set up its table, copy between pages, and map what it has granted to itself.
 */
import { PAGE_SHIFT } from '../../../x86/paging.ts';
import {
  __HYPERVISOR_grant_table_op,
  EFAULT,
  EINVAL,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
  HYPERVISOR_VIRT_END,
} from '../constants.ts';
import { MAX_GRANT_FRAMES, type SharedFrame } from '../domain.ts';
import { copyGranted } from '../grant-copy.ts';
import {
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_virt_addr,
  GNTST_eagain,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
} from '../grant-status.ts';
import { type Call, type HypercallTable, type Operation, type Operations, operate } from '../hypercall.ts';
import { type Fields, type Structure, structure, type Values } from '../structures.ts';

const GNTTABOP_map_grant_ref = 0;
const GNTTABOP_unmap_grant_ref = 1;
const GNTTABOP_setup_table = 2;
const GNTTABOP_copy = 5;
const GNTTABOP_query_size = 6;
const GNTTABOP_unmap_and_replace = 7;
const GNTTABOP_set_version = 8;
const GNTTABOP_get_status_frames = 9;
const GNTTABOP_get_version = 10;
const GNTTABOP_swap_grant_ref = 11;
const GNTTABOP_cache_flush = 12;

/** The bits of the command above the operation: where Xen goes on with a cache_flush that it interrupted. */
const GNTTABOP_CMD_BITS = 20;

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
const gnttab_unmap_and_replace = structure({ host_addr: 'u64', new_addr: 'u64', handle: 'u32', status: 's16' });
const gnttab_get_status_frames = structure({ nr_frames: 'u32', dom: 'u16', status: 's16', frame_list: 'handle' });
const gnttab_swap_grant_ref = structure({ ref_a: 'u32', ref_b: 'u32', status: 's16' });
const gnttab_cache_flush = structure({ dev_bus_addr: 'u64', offset: 'u16', length: 'u16', op: 'u32' });
const gnttab_copy = structure({
  source: 'ulong', // union: u32 ref or gmfn
  source_domid: 'u16',
  source_offset: 'u16',
  source_end: 'end',
  dest: 'ulong',
  dest_domid: 'u16',
  dest_offset: 'u16',
  dest_end: 'end',
  len: 'u16',
  flags: 'u16',
  status: 's16',
});
const gnttab_query_size = structure({ dom: 'u16', nr_frames: 'u32', max_nr_frames: 'u32', status: 's16' });
const gnttab_set_version = structure({ version: 'u32' });
const gnttab_get_version = structure({ dom: 'u16', pad: 'u16', version: 'u32' });

const GNTCOPY_source_gref = 1;
const GNTCOPY_dest_gref = 2;

const GNTTAB_CACHE_CLEAN = 1;
const GNTTAB_CACHE_INVAL = 2;

/** Structures of an array done in one go; the rest after the guest's interrupts had their turn. */
const BATCH = 256;

/** True if a PV guest may pass `address`: it lies outside Xen's part of the address space. */
function mayPass(call: Call, address: bigint): boolean {
  return call.domain.kind.translated || call.width === 32 || address < 1n << 47n || address >= HYPERVISOR_VIRT_END;
}

/** Runs `each` over the array at argument 1, storing what it returns; stops at the first fault. */
function forEach<F extends Fields>(
  type: Structure<F>,
  each: (call: Call, values: Values<F>) => Partial<Values<F>> | number,
): Operation {
  return call => {
    const { size } = type[call.width];
    let address = call.argument(1);
    let left = call.uint(2);
    // The array as a whole must be within what can be addressed (guest_handle_okay).
    if (!call.domain.kind.translated && (left >= Math.floor(0xffffffff / size) || !mayPass(call, address)))
      return -EFAULT;
    for (let done = 0; left > 0; done++, left--, address += BigInt(size)) {
      if (done === BATCH) return call.continueWith(call.argument(0), address, BigInt(left));
      const values = call.load(address, type);
      if (!values) return -EFAULT;
      const result = each(call, values);
      if (typeof result === 'number') {
        if (result < 0) return result;
        continue;
      }
      if (call.store(address, type, result) < 0) return -EFAULT;
    }
    return 0;
  };
}

/** The one structure at argument 1; the count must say so. */
function one<F extends Fields>(
  type: Structure<F>,
  run: (call: Call, values: Values<F>) => Partial<Values<F>> | number,
): Operation {
  return (call, argument) => {
    if (call.uint(2) !== 1) return -EINVAL;
    const values = call.load(argument, type);
    if (!values) return -EFAULT;
    const result = run(call, values);
    return typeof result === 'number' ? result : call.store(argument, type, result);
  };
}

/** What a guest finds in `status` that asks about the table of `domid`: GNTST_okay for its own. */
function aboutTable(call: Call, domid: number): number {
  if (call.domain.isSelf(domid)) return GNTST_okay;
  return call.domain.exists(domid) ? GNTST_permission_denied : GNTST_bad_domain;
}

/** Stores the numbers of `frames` at `list`, `bytes` each. @returns a GNTST_ */
function listFrames(call: Call, frames: readonly SharedFrame[], list: bigint, bytes: number): number {
  const { kind } = call.domain;
  const numbers = new Uint8Array(frames.length * bytes);
  const view = new DataView(numbers.buffer);
  for (const [index, { address }] of frames.entries())
    view.setUint32(index * bytes, kind.frameNumber(call.domain, address), true);
  return frames.length === 0 || call.write(list, numbers) ? GNTST_okay : GNTST_bad_virt_addr;
}

/** GNTTABOP_swap_grant_ref. @returns a GNTST_ */
function swap(call: Call, a: number, b: number): number {
  const { grants } = call.domain;
  if (a >= grants.entries || b >= grants.entries) return GNTST_bad_gntref;
  if (a === b) return GNTST_okay;
  if (grants.active(a) || grants.active(b)) return GNTST_eagain;
  const [one, other] = [grants.entry(a), grants.entry(b)];
  const bytes = one.bytes();
  one.setBytes(other.bytes());
  other.setBytes(bytes);
  return GNTST_okay;
}

interface CacheFlush {
  dev_bus_addr: bigint;
  offset: number;
  length: number;
  op: number;
}

/** GNTTABOP_cache_flush: there is no cache that could differ from memory, but it may be asked wrongly. */
function cacheFlush(call: Call, { dev_bus_addr, offset, length, op }: CacheFlush): number {
  const size = 1 << PAGE_SHIFT;
  if (offset >= size || length > size || offset + length > size) return -EINVAL;
  if ((op & ~(GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL)) !== 0) return -EINVAL;
  if (length === 0 || op === 0) return 0;
  const { kind, memory } = call.domain;
  const frame = dev_bus_addr >> BigInt(PAGE_SHIFT);
  if (frame >= BigInt(memory.size >>> PAGE_SHIFT)) return -EINVAL;
  if (kind.frame(call.domain, Number(frame), false) === undefined) return -EPERM;
  return op === GNTTAB_CACHE_INVAL ? -EOPNOTSUPP : 0;
}

const operations: Operations = {
  [GNTTABOP_map_grant_ref]: forEach(gnttab_map_grant_ref, (call, op) => {
    const request = { hostAddress: op.host_addr, flags: op.flags, reference: op.ref, domid: op.dom };
    const mapped = call.domain.grantMappings.map(call.vcpu, request);
    if (typeof mapped === 'number') return { status: mapped };
    return { status: GNTST_okay, handle: mapped.handle, dev_bus_addr: BigInt(mapped.address) };
  }),
  [GNTTABOP_unmap_grant_ref]: forEach(gnttab_unmap_grant_ref, (call, op) => ({
    status: call.domain.grantMappings.unmap(call.vcpu, {
      hostAddress: op.host_addr,
      deviceAddress: op.dev_bus_addr,
      handle: op.handle,
      newAddress: 0n,
    }),
  })),
  [GNTTABOP_unmap_and_replace]: forEach(gnttab_unmap_and_replace, (call, op) => ({
    status: call.domain.grantMappings.unmap(call.vcpu, {
      hostAddress: op.host_addr,
      deviceAddress: 0n,
      handle: op.handle,
      newAddress: op.new_addr,
    }),
  })),
  [GNTTABOP_setup_table]: one(gnttab_setup_table, (call, op) => {
    if (!mayPass(call, op.frame_list)) return -EFAULT;
    const status = aboutTable(call, op.dom);
    if (status !== GNTST_okay) return { status };
    const { grants } = call.domain;
    if (op.nr_frames > MAX_GRANT_FRAMES || !grants.grow(op.nr_frames)) return { status: GNTST_general_error };
    return { status: listFrames(call, grants.frames.slice(0, op.nr_frames), op.frame_list, call.width / 8) };
  }),
  [GNTTABOP_copy]: forEach(gnttab_copy, (call, op) => {
    const source = {
      isGrant: (op.flags & GNTCOPY_source_gref) !== 0,
      grantOrFrame: op.source,
      domid: op.source_domid,
      offset: op.source_offset,
    };
    const dest = {
      isGrant: (op.flags & GNTCOPY_dest_gref) !== 0,
      grantOrFrame: op.dest,
      domid: op.dest_domid,
      offset: op.dest_offset,
    };
    return { status: copyGranted(call.domain, source, dest, op.len) };
  }),
  [GNTTABOP_query_size]: one(gnttab_query_size, (call, op) => {
    const status = aboutTable(call, op.dom);
    if (status !== GNTST_okay) return { status };
    return { status, nr_frames: call.domain.grants.frames.length, max_nr_frames: MAX_GRANT_FRAMES };
  }),
  // It tells the version that is in force then, whether or not that changed.
  [GNTTABOP_set_version](call, argument) {
    const op = call.load(argument, gnttab_set_version);
    if (!op) return -EFAULT;
    const { grants } = call.domain;
    const error = grants.setVersion(op.version);
    return call.store(argument, gnttab_set_version, { version: grants.version }) || error;
  },
  [GNTTABOP_get_status_frames]: one(gnttab_get_status_frames, (call, op) => {
    if (!mayPass(call, op.frame_list)) return -EFAULT;
    const status = aboutTable(call, op.dom);
    if (status !== GNTST_okay) return { status };
    const { statusFrames } = call.domain.grants;
    if (op.nr_frames > statusFrames.length) return { status: GNTST_general_error };
    return { status: listFrames(call, statusFrames.slice(0, op.nr_frames), op.frame_list, 8) };
  }),
  [GNTTABOP_get_version](call, argument) {
    const op = call.load(argument, gnttab_get_version);
    if (!op) return -EFAULT;
    if (!call.domain.isSelf(op.dom)) return call.domain.exists(op.dom) ? -EPERM : -ESRCH;
    return call.store(argument, gnttab_get_version, { version: call.domain.grants.version });
  },
  [GNTTABOP_swap_grant_ref]: forEach(gnttab_swap_grant_ref, (call, op) => ({ status: swap(call, op.ref_a, op.ref_b) })),
  [GNTTABOP_cache_flush]: forEach(gnttab_cache_flush, cacheFlush),
};

/** What Xen lets guests with translated frame numbers do (hvm_grant_table_op). */
const translatedOperations: Operations = Object.fromEntries(
  [
    GNTTABOP_map_grant_ref,
    GNTTABOP_unmap_grant_ref,
    GNTTABOP_setup_table,
    GNTTABOP_copy,
    GNTTABOP_query_size,
    GNTTABOP_set_version,
    GNTTABOP_get_version,
    GNTTABOP_swap_grant_ref,
  ].map(command => [command, operations[command]]),
);

function run(call: Call): number {
  const { translated } = call.domain.kind;
  const command = call.uint(0);
  if (translated && !translatedOperations[command]) return -ENOSYS;
  if (call.int(2) < 0) return -EINVAL;
  const operation = command % 2 ** GNTTABOP_CMD_BITS;
  if (operation !== command && operation !== GNTTABOP_cache_flush) return -EINVAL;
  return operate('grant_table_op', translated ? translatedOperations : operations, call, operation);
}

export const grant_table_op: HypercallTable = {
  [__HYPERVISOR_grant_table_op]: {
    name: 'HYPERVISOR_grant_table_op',
    arguments: ['cmd', 'uop', 'count'],
    status: 'partly',
    note: 'nobody grants anything to the guest but itself; GNTTABOP_transfer answers -ENOSYS',
    run,
  },
};
