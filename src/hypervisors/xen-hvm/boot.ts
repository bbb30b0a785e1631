/**
 * Boot of an HVM guest: a PC's, by any entry. The domain is built first, with Xen's own pages at the top of RAM, where no memory map of
 * the firmware's reaches.
 */
import { pcMemoryMap } from '../../boot/e820.ts';
import { PCI_DISKS } from '../../devices/pci-disks.ts';
import { PCI_NETWORKS } from '../../devices/pci-networks.ts';
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Paravirt } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { connectToolstack, XEN_BUS } from '../xen/toolstack.ts';
import { guestRam, startDomain } from '../xen-pvh/domain-builder.ts';
import { PvhDomain } from '../xen-pvh/pvh-domain.ts';
import { createPlatformDevice } from './platform-device.ts';

/** @param base whose board the guest has */
export function createBoot(context: HypervisorContext, slot: DomainSlot<PvhDomain>, base: Paravirt): Group<'boot'> {
  return {
    ...base.boot,
    firmwareRam: guestRam,
    takesModules: false,
    cards: [createPlatformDevice(context)],
    // What names no bus is the board's and Xen's at once: the guest decides, by unplugging.
    diskBuses: [...PCI_DISKS.keys(), XEN_BUS],
    networkBuses: [...PCI_NETWORKS.keys(), XEN_BUS],
    load(request, context) {
      const pvh = new PvhDomain(withOutputAlone(context));
      slot.built = pvh;
      pvh.domain.state.memoryMap = pcMemoryMap(guestRam(context.memory).size);
      startDomain(pvh);
      // By that entry a kernel would take itself for a PVH guest.
      return request.natively(['pvh']);
    },
    rebuild(context) {
      slot.built = new PvhDomain(withOutputAlone(context));
      connectToolstack(slot.built.domain);
    },
  };
}

/** The guest has two consoles, and what is typed is for one of them: the serial port, as with a toolstack's `serial="pty"`. */
function withOutputAlone(context: HypervisorContext): HypervisorContext {
  const { console } = context;
  return { ...context, console: { write: data => console.write(data), onInput() {} } };
}
