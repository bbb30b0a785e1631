/** The ways in which a disk of the host can be a device on the PCI bus, by the names of `--disk FILE,bus=NAME`. */
import type { Disk } from '../host/disk.ts';
import type { Device, Slot } from './device.ts';
import * as at from './pc-layout.ts';
import type { PciFunction } from './pci.ts';
import { VirtioBlk } from './virtio/virtio-blk.ts';
import { VIRTIO_PCI_WINDOW, VirtioPci } from './virtio/virtio-pci.ts';

/** @param index which disk of the board it is: the PCI device behind the host bridge by one more */
export type PciDisk = (slot: Slot, disk: Disk, index: number) => Device & { readonly function: PciFunction };

/** The first is for disks that do not say. */
export const PCI_DISKS: ReadonlyMap<string, PciDisk> = new Map([['virtio', virtioDisk]]);

function virtioDisk(slot: Slot, disk: Disk, index: number): VirtioPci {
  const block = new VirtioBlk(slot, disk, slot.memory, slot.log, `disk-${index}`);
  const irq = at.pciIrq(index + 1);
  const wiring = { line: slot.line(irq), lineNumber: irq };
  return new VirtioPci(slot, block, at.PCI_MEMORY.start + index * VIRTIO_PCI_WINDOW, wiring);
}
