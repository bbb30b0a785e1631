/** HYPERVISOR_memory_op (public/memory.h): what both kinds of guest may ask of their memory. */
import { PAGE_SHIFT } from '../../../x86/paging.ts';
import { __HYPERVISOR_memory_op, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from '../constants.ts';
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

export const xen_memory_reservation = structure({
  extent_start: 'handle',
  nr_extents: 'ulong',
  extent_order: 'u32',
  mem_flags: 'u32',
  domid: 'u16',
});
const xen_memory_map = structure({ nr_entries: 'u32', buffer: 'handle' });
const domid_argument = structure({ domid: 'u16' });

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
  if (map.length === 0) return -ENOSYS;
  const op = call.load(argument, xen_memory_map);
  if (!op) return -EFAULT;
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
  if (!call.domain.isSelf(about.domid)) return about.domid === 0 ? -EPERM : -ESRCH;
  if (op.nr_entries > MAX_MAP_ENTRIES) return -EINVAL;
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

/**
 * An operation over the extents of a struct xen_memory_reservation, whose array holds a frame number each. `each` does
 * one extent (2^order frames) and returns the number to store back, undefined to leave the array alone, or false to
 * stop.
 * @returns how many extents were done.
 */
export function overExtents(each: (call: Call, frame: number, order: number) => number | undefined | false): Operation {
  return (call, argument) => {
    const op = call.load(argument, xen_memory_reservation);
    if (!op) return -EFAULT;
    const start = call.uint(0) >>> MEMOP_EXTENT_SHIFT;
    if (!call.domain.isSelf(op.domid)) return op.domid === 0 ? -EPERM : -ESRCH;
    if (op.extent_order > MAX_EXTENT_ORDER) return start;
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

const operations: Operations = {
  /** The highest frame of the machine. */
  [XENMEM_maximum_ram_page]: call => (call.domain.memory.size >>> PAGE_SHIFT) - 1,
  [XENMEM_current_reservation]: aboutSelf(call => call.domain.state.reservation),
  [XENMEM_maximum_reservation]: aboutSelf(call => call.domain.pages),
  [XENMEM_memory_map]: memoryMap,
  [XENMEM_set_memory_map]: setMemoryMap,
  [XENMEM_maximum_gpfn]: aboutSelf(call => call.domain.pages - 1),
  // For dom0 only.
  [XENMEM_machphys_mfn_list]: () => -EPERM,
  [XENMEM_machine_memory_map]: () => -EPERM,
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
