/** The table of the hypervisor that another one stands on. */
import { NO_BACK_ENDS } from '../host/back-ends.ts';
import type { HypervisorContext, HypervisorModule, Paravirt } from './operations.ts';

/** One instance of `under` for the machine of `context`. The host's disks, networks and folders are the upper one's to serve. */
export function makeUnder(under: HypervisorModule, context: HypervisorContext): Paravirt {
  return under.make({ ...context, backEnds: NO_BACK_ENDS });
}
