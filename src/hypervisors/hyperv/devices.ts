/** The devices on the VMBus of a machine, in the order in which its guest hears of them. */
import { macAddress } from '../../devices/pc-layout.ts';
import type { VmbusDevice, VmbusDeviceFactory } from '../../devices/vmbus/channel.ts';
import { DynamicMemory } from '../../devices/vmbus/dynamic-memory.ts';
import { HvSockets } from '../../devices/vmbus/hv-sockets.ts';
import { KeyValueService } from '../../devices/vmbus/key-value.ts';
import { Netvsc } from '../../devices/vmbus/netvsc.ts';
import { HeartbeatService, ShutdownService, TimeService } from '../../devices/vmbus/services.ts';
import { Storvsc } from '../../devices/vmbus/storvsc.ts';
import { onBus } from '../../host/back-ends.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';

/** The bus's name where a disk, a network or a vsock says what it is to be plugged into. */
export const VMBUS = 'vmbus';

/** Asks the guest to switch itself off. @returns false if it does not listen */
export function requestShutdown(devices: readonly VmbusDevice[]): boolean {
  return devices.some(device => device instanceof ShutdownService && device.request());
}

/** Asks the guest to make do with so much RAM. @returns true: a driver that comes later finds the wish, too */
export function requestMemory(devices: readonly VmbusDevice[], bytes: number): boolean {
  return devices.some(device => device instanceof DynamicMemory && device.request(bytes));
}

export function vmbusDevices({ backEnds }: HypervisorContext): VmbusDeviceFactory[] {
  const factories: VmbusDeviceFactory[] = [];
  const disks = onBus(backEnds.disks, VMBUS, VMBUS);
  if (disks.length > 0) factories.push((host, channel) => new Storvsc(host, channel, disks));
  for (const [index, network] of onBus(backEnds.networks, VMBUS, VMBUS).entries())
    factories.push((host, channel) => new Netvsc(host, channel, network, macAddress(index, network.mac), index));
  factories.push(
    (host, channel) => new ShutdownService(host, channel),
    (host, channel) => new HeartbeatService(host, channel),
    (host, channel) => new TimeService(host, channel),
    (host, channel) => new KeyValueService(host, channel),
    (host, channel) => new DynamicMemory(host, channel),
  );
  return factories;
}

/** The connections of the vsock that is plugged into the bus. */
export function vmbusSockets({ backEnds: { vsock }, clock, log }: HypervisorContext): HvSockets | undefined {
  const [plugged] = vsock ? onBus([vsock], VMBUS, VMBUS) : [];
  return plugged && new HvSockets(plugged, { clock, log });
}
