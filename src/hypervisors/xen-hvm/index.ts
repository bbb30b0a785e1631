/**
 * Xen as an HVM guest sees it: a PC, with firmware and all its devices, and beside it what a PVH guest has. Drivers made for Xen find a
 * PCI device, have the PC's own disks and network cards unplugged, and use Xen's.
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { DomainSlot } from '../xen/domain-slot.ts';
import { pvhTable, xenPvh } from '../xen-pvh/index.ts';
import type { PvhDomain } from '../xen-pvh/pvh-domain.ts';
import { createBoot } from './boot.ts';

const name = 'xen-hvm';
const title = "Xen 4.17, HVM: a PC with Xen's hypercalls and drivers, and the PC's own to unplug";

export const xenHvm: HypervisorModule = {
  ...xenPvh,
  name,
  title,
  isRelative: true,
  guestHalf: { option: 'CONFIG_XEN_PVHVM', symbols: ['xen_hvm_guest_init', 'xen_hvm_init_time_ops'] },
  make(context, base = bareTable, options?) {
    const slot = new DomainSlot<PvhDomain>();
    return derive(pvhTable(context, slot, base, options), {
      name,
      title,
      boot: createBoot(context, slot, base),
    });
  },
};
