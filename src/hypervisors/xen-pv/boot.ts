/**
 * Boot of a PV guest: no firmware, no PC; the domain is built around the kernel, which starts in 64-bit mode at once.
 */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { XEN_BUS } from '../xen/toolstack.ts';
import { buildDomain, rebuildDomain, refusesImage } from './domain-builder.ts';
import type { PvDomain } from './pv-domain.ts';

export function createBoot(_context: HypervisorContext, slot: DomainSlot<PvDomain>): Group<'boot'> {
  return {
    platform: 'none',
    console: 'hvc0',
    diskBuses: [XEN_BUS],
    networkBuses: [XEN_BUS],
    // Nor is what a hypervisor below has for these a PV guest's.
    vsockBuses: [],
    refuses: refusesImage,
    load(request, context) {
      const { pv, entry } = buildDomain(request, context);
      slot.built = pv;
      return entry;
    },
    rebuild(context, saved) {
      slot.built = rebuildDomain(context, saved('xen/domain'));
    },
  };
}
