/** Processors of a PV guest: it starts and stops them by hypercalls (VCPUOP_*), and they interrupt one another by events. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { MAXIMUM_VCPUS } from './hypervisor-area.ts';

export function createSmp(_context: HypervisorContext): Group<'smp'> {
  return { maximum: MAXIMUM_VCPUS };
}
