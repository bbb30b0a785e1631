/** The ways in which a disk of the host can be a device on the PCI bus, by the names of `--disk FILE,bus=NAME`. */
import type { Disk } from '../host/disk.ts';
import type { Device, Slot } from './device.ts';
import { Nvme } from './nvme/nvme.ts';
import * as at from './pc-layout.ts';
import type { PciFunction, PciPlace } from './pci.ts';
import { Pvscsi } from './scsi/pvscsi.ts';
import { VirtioBlk } from './virtio/virtio-blk.ts';
import { type VirtioDevice, VirtioPci } from './virtio/virtio-pci.ts';

export type PciDevice = Device & { readonly function: PciFunction };

/** @param index which device of the board's PCI bus it is, behind the host bridge */
export type PciDisk = (slot: Slot, disk: Disk, index: number) => PciDevice;

/** The first is for disks that do not say. */
export const PCI_DISKS: ReadonlyMap<string, PciDisk> = new Map<string, PciDisk>([
  ['virtio', virtioDisk],
  ['nvme', (slot, disk, index) => new Nvme(slot, disk, index, placeOf(slot, index))],
  ['pvscsi', (slot, disk, index) => new Pvscsi(slot, disk, index, placeOf(slot, index))],
]);

function virtioDisk(slot: Slot, disk: Disk, index: number): VirtioPci {
  return virtioAt(slot, new VirtioBlk(slot, disk, slot.memory, slot.log, `disk-${index}`), index);
}

/** The place of device `index` on the bus. */
export function placeOf(slot: Slot, index: number): PciPlace {
  const lineNumber = at.pciIrq(index + 1);
  return {
    address: at.PCI_MEMORY.start + index * at.PCI_WINDOW,
    port: at.PCI_PORTS + index * at.PCI_PORTS_WINDOW,
    wiring: { line: slot.line(lineNumber), lineNumber },
  };
}

/** A virtio device in its place on the bus. */
export function virtioAt(slot: Slot, virtio: VirtioDevice, index: number): VirtioPci {
  const { address, wiring } = placeOf(slot, index);
  return new VirtioPci(slot, virtio, address, wiring);
}
