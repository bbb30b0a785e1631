/** The VMBus in the ACPI tables: drivers find the bus by this device. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { VMBUS } from './devices.ts';
import { VMBUS_DEVICE } from './vmbus.ts';

export function createBoot(_context: HypervisorContext): Group<'boot'> {
  return { devices: [VMBUS_DEVICE], diskBuses: [VMBUS], networkBuses: [VMBUS], vsockBuses: [VMBUS] };
}
