/** One virtual processor: VCPUOP_initialise and what belongs to it are not there yet. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';

export function createSmp(_context: HypervisorContext): Group<'smp'> {
  return { maximum: 1 };
}
