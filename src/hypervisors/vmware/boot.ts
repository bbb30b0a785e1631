/** The devices that guests of VMware know best. They are on the board's PCI bus. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';

export function createBoot(_context: HypervisorContext): Group<'boot'> {
  return { diskBuses: ['pvscsi'], networkBuses: ['vmxnet3'] };
}
