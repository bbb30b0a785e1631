/**
 * The devices on the PCI bus that a PC has whatever stands behind its other ones on the host. They are virtio's: a hypervisor that
 * brings buses of its own brings its own of these, too, where it has them.
 */
import type { Slot } from './device.ts';
import { type PciDevice, virtioAt } from './pci-disks.ts';
import { VirtioBalloon } from './virtio/virtio-balloon.ts';
import { VirtioRng } from './virtio/virtio-rng.ts';

/** What the machine gives them besides their slot. */
export interface ServiceParts {
  /** 64 random bits a call: a sequence that a machine with the virtual clock repeats. */
  random(): bigint;
}

/** @param index its place on the bus, behind the other devices */
export type PciService = (slot: Slot, parts: ServiceParts, index: number) => PciDevice;

/** In the order in which they are left out where the bus is full: the last one first. */
export const PCI_SERVICES: readonly PciService[] = [
  (slot, { random }, index) => virtioAt(slot, new VirtioRng(slot, random), index),
  (slot, _, index) => virtioAt(slot, new VirtioBalloon(slot), index),
];
