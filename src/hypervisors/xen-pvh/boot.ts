/** Boot of a PVH guest: no firmware; the kernel starts at its PVH entry, in 32-bit protected mode. */
import { canBootPvh, lacksPvhEntry, loadPvh } from '../../boot/pvh.ts';
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { connectToolstack, XEN_BUS } from '../xen/toolstack.ts';
import { buildDomain, guestRam } from './domain-builder.ts';
import { PvhDomain } from './pvh-domain.ts';

export function createBoot(_context: HypervisorContext, slot: DomainSlot<PvhDomain>): Group<'boot'> {
  return {
    platform: 'local-apic',
    console: 'hvc0',
    diskBuses: [XEN_BUS],
    networkBuses: [XEN_BUS],
    takesModules: true,
    refuses: image => (canBootPvh(image) ? undefined : `${image.description} ${lacksPvhEntry(image)}`),
    load({ image, initrd, modules, commandLine }, context) {
      const pvh = new PvhDomain(context);
      slot.built = pvh;
      const rsdp = buildDomain(pvh);
      const { memoryMap } = pvh.domain.state;
      return loadPvh(guestRam(context.memory), image, { initrd, modules, commandLine, rsdp, memoryMap });
    },
    rebuild(context) {
      slot.built = new PvhDomain(context);
      connectToolstack(slot.built.domain);
    },
  };
}
