/** HYPERVISOR_memory_op (public/memory.h): what both kinds of guest may ask of their memory. */
import { PAGE_SHIFT } from '../../../x86/paging.ts';
import { __HYPERVISOR_memory_op, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../constants.ts';
import { type Call, type HypercallTable, type Operation, type Operations, operate } from '../hypercall.ts';
import { structure } from '../structures.ts';

export const XENMEM_increase_reservation = 0;
export const XENMEM_decrease_reservation = 1;
export const XENMEM_maximum_ram_page = 2;
export const XENMEM_current_reservation = 3;
export const XENMEM_maximum_reservation = 4;
export const XENMEM_machphys_mfn_list = 5;
export const XENMEM_populate_physmap = 6;
export const XENMEM_add_to_physmap = 7;
export const XENMEM_memory_map = 9;
export const XENMEM_machine_memory_map = 10;
export const XENMEM_exchange = 11;
export const XENMEM_machphys_mapping = 12;
export const XENMEM_set_memory_map = 13;
export const XENMEM_maximum_gpfn = 14;
export const XENMEM_remove_from_physmap = 15;
const XENMEM_set_pod_target = 16;
const XENMEM_get_pod_target = 17;
const XENMEM_get_sharing_freed_pages = 18;
const XENMEM_get_sharing_shared_pages = 19;
const XENMEM_access_op = 21;
export const XENMEM_add_to_physmap_batch = 23;
const XENMEM_claim_pages = 24;
const XENMEM_get_vnumainfo = 26;
const XENMEM_reserved_device_memory_map = 27;
export const XENMEM_acquire_resource = 28;

export const xen_memory_reservation = structure({
  extent_start: 'handle',
  nr_extents: 'ulong',
  extent_order: 'u32',
  mem_flags: 'u32',
  domid: 'u16',
});
export const xen_add_to_physmap = structure({
  domid: 'u16',
  size: 'u16',
  space: 'u32',
  idx: 'ulong',
  gpfn: 'ulong',
});
export const xen_add_to_physmap_batch = structure({
  domid: 'u16',
  space: 'u16',
  size: 'u16',
  foreign_domid: 'u16',
  idxs: 'handle',
  gpfns: 'handle',
  errs: 'handle',
});
export const xen_remove_from_physmap = structure({ domid: 'u16', gpfn: 'ulong' });
export const xen_mem_acquire_resource = structure({
  domid: 'u16',
  type: 'u16',
  id: 'u32',
  nr_frames: 'u32',
  pad: 'u32',
  frame: 'u64',
  frame_list: 'handle',
});
/** What may be added to a guest's frames: XENMAPSPACE_*. */
export const XENMAPSPACE_shared_info = 0;
export const XENMAPSPACE_grant_table = 1;
export const XENMAPSPACE_gmfn = 2;
export const XENMAPSPACE_gmfn_range = 3;
export const XENMAPSPACE_gmfn_foreign = 4;
export const XENMAPSPACE_dev_mmio = 5;

const xen_memory_map = structure({ nr_entries: 'u32', buffer: 'handle' });
const domid_argument = structure({ domid: 'u16' });
const xen_pod_target = structure({
  target_pages: 'u64',
  tot_pages: 'u64',
  pod_cache_pages: 'u64',
  pod_entries: 'u64',
  domid: 'u16',
});
const xen_mem_access_op = structure({
  op: 'u8',
  access: 'u8',
  domid: 'u16',
  nr: 'u32',
  pfn: 'u64',
  pfn_list: 'u64',
  access_list: 'u64',
});
const xen_vnuma_topology_info = structure({
  domid: 'u16',
  pad: 'u16',
  nr_vnodes: 'u32',
  nr_vcpus: 'u32',
  nr_vmemranges: 'u32',
  vdistance: 'u64',
  vcpu_to_vnode: 'u64',
  vmemrange: 'u64',
});
const xen_reserved_device_memory_map = structure({ flags: 'u32', nr_entries: 'u32', buffer: 'handle', dev: 'u32' });

/** Entries a memory map may have (Xen's E820MAX). */
const MAX_MAP_ENTRIES = 128;
/** Bytes of an E820 entry: address u64, size u64, type u32, packed. */
const E820_ENTRY = 20;

/** The low bits of the command are the operation; the others say how many extents an interrupted one has done. */
const MEMOP_EXTENT_SHIFT = 6;
const MEMOP_CMD_MASK = (1 << MEMOP_EXTENT_SHIFT) - 1;
/** Extents done before the guest's interrupts get their turn. */
const EXTENT_BATCH = 1024;
/** Pages of an extent at most, as an order of two: what a domU may ask for (Xen's CONFIG_DOMU_MAX_ORDER). */
const MAX_EXTENT_ORDER = 9;
/** Extents at most: more would leave no room for progress in the command. */
const MAX_EXTENTS = 2n ** BigInt(32 - MEMOP_EXTENT_SHIFT) - 1n;

/** mem_flags: bits 0-7 the most address bits wanted, 8-15 a node plus one, and whether it must be that node. */
const XENMEMF_exact_node_request = 1 << 17;
const XENMEMF_vnode = 1 << 18;
const XENMEM_RDM_ALL = 1;

/** Extents that an operation which was interrupted says it has done: the upper part of the command. */
export function startExtent(call: Call): bigint {
  return call.argument(0) >> BigInt(MEMOP_EXTENT_SHIFT);
}

/** An operation that is never interrupted, so it may not say that it was. */
export const whole =
  (run: Operation, error = EINVAL): Operation =>
  (call, argument) =>
    startExtent(call) === 0n ? run(call, argument) : -error;

/** A question about one domain, which must be the caller. */
const aboutSelf =
  (answer: (call: Call) => number): Operation =>
  (call, argument) => {
    const op = call.load(argument, domid_argument);
    if (!op) return -EFAULT;
    return call.domain.isSelf(op.domid) ? answer(call) : op.domid === 0 ? -EPERM : -ESRCH;
  };

function memoryMap(call: Call, argument: bigint): number {
  const { memoryMap: map } = call.domain.state;
  const op = call.load(argument, xen_memory_map);
  if (!op) return -EFAULT;
  if (map.length === 0) return -ENOSYS;
  const count = Math.min(op.nr_entries, map.length);
  const entries = new Uint8Array(count * E820_ENTRY);
  const view = new DataView(entries.buffer);
  for (let index = 0; index < count; index++) {
    const { address, size, type } = map[index]!;
    view.setBigUint64(index * E820_ENTRY, BigInt(address), true);
    view.setBigUint64(index * E820_ENTRY + 8, BigInt(size), true);
    view.setUint32(index * E820_ENTRY + 16, type, true);
  }
  if (count && !call.write(op.buffer, entries)) return -EFAULT;
  return call.store(argument, xen_memory_map, { nr_entries: count });
}

/** XENMEM_set_memory_map: GRUB keeps the kernel it loads from using what is still GRUB's that way. */
function setMemoryMap(call: Call, argument: bigint): number {
  const about = call.load(argument, domid_argument);
  // The map follows the domid, aligned to a long.
  const op = call.load(argument + BigInt(call.width / 8), xen_memory_map);
  if (!about || !op) return -EFAULT;
  if (op.nr_entries > MAX_MAP_ENTRIES) return -EINVAL;
  if (!call.domain.isSelf(about.domid)) return about.domid === 0 ? -EPERM : -ESRCH;
  const entries = call.read(op.buffer, op.nr_entries * E820_ENTRY);
  if (!entries) return -EFAULT;
  const view = new DataView(entries.buffer, entries.byteOffset);
  call.domain.state.memoryMap = Array.from({ length: op.nr_entries }, (_, index) => ({
    address: Number(view.getBigUint64(index * E820_ENTRY, true)),
    size: Number(view.getBigUint64(index * E820_ENTRY + 8, true)),
    type: view.getUint32(index * E820_ENTRY + 16, true),
  }));
  return 0;
}

/** True if memory may be had as `flags` say. */
function mayAsk(flags: number): boolean {
  const addressBits = flags & 0xff;
  if (addressBits !== 0 && addressBits <= PAGE_SHIFT) return false;
  const namesNode = ((flags >>> 8) & 0xff) !== 0;
  return (flags & XENMEMF_vnode) !== 0 || !namesNode || (flags & XENMEMF_exact_node_request) === 0;
}

/**
 * An operation over the extents of a struct xen_memory_reservation, whose array holds a frame number each. `each` does
 * one extent (2^order frames) and returns the number to store back, undefined to leave the array alone, or false to
 * stop.
 * @returns how many extents were done, whatever it was that stopped it.
 */
export function overExtents(each: (call: Call, frame: number, order: number) => number | undefined | false): Operation {
  return (call, argument) => {
    const start = Number(startExtent(call));
    const op = call.load(argument, xen_memory_reservation);
    if (!op || op.nr_extents > MAX_EXTENTS || BigInt(start) >= op.nr_extents) return start;
    if (!call.domain.isSelf(op.domid) || !mayAsk(op.mem_flags) || op.extent_order > MAX_EXTENT_ORDER) return start;
    const long = call.width / 8;
    let done = start;
    for (; BigInt(done) < op.nr_extents; done++) {
      if (done - start === EXTENT_BATCH) {
        const command = BigInt((call.uint(0) & MEMOP_CMD_MASK) + done * (1 << MEMOP_EXTENT_SHIFT));
        // The command has 26 bits for progress: more extents than a guest has pages are not worth another register.
        return command > 0xffffffffn ? done : call.continueWith(command, argument);
      }
      const address = op.extent_start + BigInt(done * long);
      const bytes = call.read(address, long);
      if (!bytes) break;
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const frame = long === 8 ? Number(view.getBigUint64(0, true)) : view.getUint32(0, true);
      const result = each(call, frame, op.extent_order);
      if (result === false) break;
      if (result === undefined) continue;
      if (long === 8) view.setBigUint64(0, BigInt(result), true);
      else view.setUint32(0, result, true);
      if (!call.write(address, bytes)) break;
    }
    return done;
  };
}

/** XENMEM_set_pod_target and its opposite: HVM guests alone have such memory, and domain 0 is none. */
function podTarget(call: Call, argument: bigint): number {
  const op = call.load(argument, xen_pod_target);
  if (!op) return -EFAULT;
  if (!call.domain.exists(op.domid)) return -ESRCH;
  return call.domain.isSelf(op.domid) && call.domain.kind.translated ? -EPERM : -EINVAL;
}

/** XENMEM_access_op, of another domain alone, which must be an HVM one. */
function accessOp(call: Call, argument: bigint): number {
  const op = call.load(argument, xen_mem_access_op);
  if (!op) return -EFAULT;
  if (op.domid === call.domain.id) return -EPERM;
  return op.domid === 0 ? -EINVAL : -ESRCH;
}

function claimPages(call: Call, argument: bigint): number {
  const op = call.load(argument, xen_memory_reservation);
  if (!op) return -EFAULT;
  if (op.extent_start !== 0n || op.extent_order !== 0 || op.mem_flags !== 0) return -EINVAL;
  return op.domid === 0 || op.domid === call.domain.id ? -EPERM : -EINVAL;
}

/** XENMEM_get_vnumainfo: the domain was given no nodes. */
function vnumaInfo(call: Call, argument: bigint): number {
  const op = call.load(argument, xen_vnuma_topology_info);
  if (!op) return -EFAULT;
  if (op.pad !== 0) return -EINVAL;
  if (call.domain.isSelf(op.domid)) return -EOPNOTSUPP;
  return call.domain.exists(op.domid) ? -EPERM : -ESRCH;
}

/** XENMEM_reserved_device_memory_map: there are no devices, so there is none. */
function reservedDeviceMemory(call: Call, argument: bigint): number {
  const op = call.load(argument, xen_reserved_device_memory_map);
  if (!op) return -EFAULT;
  if ((op.flags & ~XENMEM_RDM_ALL) !== 0) return -EINVAL;
  return call.store(argument, xen_reserved_device_memory_map, { nr_entries: 0 });
}

const operations: Operations = {
  /** Frames of the machine. */
  [XENMEM_maximum_ram_page]: whole(call => call.domain.memory.size >>> PAGE_SHIFT),
  [XENMEM_current_reservation]: whole(aboutSelf(call => call.domain.state.reservation)),
  [XENMEM_maximum_reservation]: whole(aboutSelf(call => call.domain.pages)),
  [XENMEM_memory_map]: whole(memoryMap, ENOSYS),
  [XENMEM_set_memory_map]: whole(setMemoryMap, ENOSYS),
  [XENMEM_maximum_gpfn]: whole(aboutSelf(call => call.domain.pages - 1)),
  // For dom0 only.
  [XENMEM_machphys_mfn_list]: () => -EPERM,
  [XENMEM_set_pod_target]: whole(podTarget, ENOSYS),
  [XENMEM_get_pod_target]: whole(podTarget, ENOSYS),
  // No page is shared between domains.
  [XENMEM_get_sharing_freed_pages]: whole(() => 0, ENOSYS),
  [XENMEM_get_sharing_shared_pages]: whole(() => 0, ENOSYS),
  [XENMEM_access_op]: accessOp,
  [XENMEM_claim_pages]: whole(claimPages),
  [XENMEM_get_vnumainfo]: whole(vnumaInfo),
  [XENMEM_reserved_device_memory_map]: whole(reservedDeviceMemory),
};

/** The memory_op entry, with the operations that one kind of guest adds. */
export function memory_op(differences: Operations): HypercallTable {
  const all = { ...operations, ...differences };
  return {
    [__HYPERVISOR_memory_op]: {
      name: 'HYPERVISOR_memory_op',
      arguments: ['cmd', 'arg'],
      status: 'done',
      run: call => operate('memory_op', all, call, call.uint(0) & MEMOP_CMD_MASK),
    },
  };
}
