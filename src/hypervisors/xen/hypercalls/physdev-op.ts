/**
 * HYPERVISOR_physdev_op (public/physdev.h): a domU without devices may set its I/O privilege level and bitmap, no more.
 */
import { __HYPERVISOR_physdev_op, EFAULT, EINVAL, ENOSYS, EPERM } from '../constants.ts';
import type { HypercallTable, Operations } from '../hypercall.ts';
import { structure } from '../structures.ts';

const PHYSDEVOP_set_iopl = 6;
const PHYSDEVOP_set_iobitmap = 7;
const PHYSDEVOP_apic_read = 8;
const PHYSDEVOP_apic_write = 9;

const physdev_set_iopl = structure({ iopl: 'u32' });
const physdev_set_iobitmap = structure({ bitmap: 'handle', nr_ports: 'u32' });
const MAX_PORTS = 65536;

const operations: Operations = {
  [PHYSDEVOP_set_iopl](call, argument) {
    const op = call.load(argument, physdev_set_iopl);
    if (!op) return -EFAULT;
    if (op.iopl > 3) return -EINVAL;
    call.vcpu.state.iopl = op.iopl;
    return 0;
  },
  [PHYSDEVOP_set_iobitmap](call, argument) {
    const op = call.load(argument, physdev_set_iobitmap);
    if (!op) return -EFAULT;
    if (op.nr_ports > MAX_PORTS) return -EINVAL;
    call.vcpu.state.ioBitmap = { address: op.bitmap, ports: op.nr_ports };
    return 0;
  },
  // This domain has no I/O APIC.
  [PHYSDEVOP_apic_read]: () => -EPERM,
  [PHYSDEVOP_apic_write]: () => -EPERM,
};

export const physdev_op: HypercallTable = {
  [__HYPERVISOR_physdev_op]: {
    name: 'HYPERVISOR_physdev_op',
    arguments: ['cmd', 'arg'],
    status: 'partly',
    note: 'no physical interrupts to map: those operations answer -ENOSYS',
    // Linux probes PHYSDEVOP_pirq_eoi_gmfn_v2 and is content with -ENOSYS.
    run: call => operations[call.uint(0)]?.(call, call.argument(1)) ?? -ENOSYS,
  },
};
