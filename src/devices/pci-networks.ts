/** The ways in which a network of the host can be a card on the PCI bus, by the names of buses. */
import type { Network } from '../host/network.ts';
import type { Slot } from './device.ts';
import { E1000 } from './e1000/e1000.ts';
import * as at from './pc-layout.ts';
import { type PciDevice, placeOf, virtioAt } from './pci-disks.ts';
import { VirtioNet } from './virtio/virtio-net.ts';
import { Vmxnet3 } from './vmxnet3/vmxnet3.ts';

/** @param number which network of the board it is @param index its place on the bus @param processors of the machine */
export type PciNetwork = (slot: Slot, network: Network, number: number, index: number, processors: number) => PciDevice;

/** The first is for networks that do not say. */
export const PCI_NETWORKS: ReadonlyMap<string, PciNetwork> = new Map<string, PciNetwork>([
  ['virtio', virtioNetwork],
  ['e1000', e1000],
  ['vmxnet3', vmxnet3],
]);

/** The only way in which a vsock can be one. */
export const PCI_VSOCK = 'virtio';

function virtioNetwork(slot: Slot, network: Network, number: number, index: number, processors: number): PciDevice {
  const mac = at.macAddress(number, network.mac);
  return virtioAt(slot, new VirtioNet(slot, network, `${number}`, mac, processors), index);
}

function vmxnet3(slot: Slot, network: Network, number: number, index: number): PciDevice {
  return new Vmxnet3(slot, network, `${number}`, at.macAddress(number, network.mac), placeOf(slot, index));
}

function e1000(slot: Slot, network: Network, number: number, index: number): PciDevice {
  return new E1000(slot, network, `${number}`, at.macAddress(number, network.mac), placeOf(slot, index));
}
