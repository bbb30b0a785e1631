/** The ways in which a network of the host can be a card on the PCI bus, by the names of buses. */
import type { Network } from '../host/network.ts';
import type { Slot } from './device.ts';
import * as at from './pc-layout.ts';
import { type PciDevice, virtioAt } from './pci-disks.ts';
import { VirtioNet } from './virtio/virtio-net.ts';

/** @param number which network of the board it is @param index its place on the bus */
export type PciNetwork = (slot: Slot, network: Network, number: number, index: number) => PciDevice;

/** The first is for networks that do not say. */
export const PCI_NETWORKS: ReadonlyMap<string, PciNetwork> = new Map([['virtio', virtioNetwork]]);

function virtioNetwork(slot: Slot, network: Network, number: number, index: number): PciDevice {
  return virtioAt(slot, new VirtioNet(slot, network, `${number}`, at.macAddress(number, network.mac)), index);
}
