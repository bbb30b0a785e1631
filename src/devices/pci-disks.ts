/** The ways in which a disk of the host can be a device on the PCI bus, by the names of `--disk FILE,bus=NAME`. */
import type { Disk } from '../host/disk.ts';
import type { Device, Slot } from './device.ts';
import * as at from './pc-layout.ts';
import type { PciFunction } from './pci.ts';
import { VirtioBlk } from './virtio/virtio-blk.ts';
import { VIRTIO_PCI_WINDOW, type VirtioDevice, VirtioPci } from './virtio/virtio-pci.ts';

export type PciDevice = Device & { readonly function: PciFunction };

/** @param index which device of the board's PCI bus it is, behind the host bridge */
export type PciDisk = (slot: Slot, disk: Disk, index: number) => PciDevice;

/** The first is for disks that do not say. */
export const PCI_DISKS: ReadonlyMap<string, PciDisk> = new Map([['virtio', virtioDisk]]);

function virtioDisk(slot: Slot, disk: Disk, index: number): VirtioPci {
  return virtioAt(slot, new VirtioBlk(slot, disk, slot.memory, slot.log, `disk-${index}`), index);
}

/** A virtio device in its place on the bus. */
export function virtioAt(slot: Slot, virtio: VirtioDevice, index: number): VirtioPci {
  const irq = at.pciIrq(index + 1);
  const wiring = { line: slot.line(irq), lineNumber: irq };
  return new VirtioPci(slot, virtio, at.PCI_MEMORY.start + index * VIRTIO_PCI_WINDOW, wiring);
}
