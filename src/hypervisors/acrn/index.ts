/** ACRN as a user VM sees it: bare hardware that names itself and tells the frequency of its time-stamp counter. */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createCpu } from './cpu.ts';

const name = 'acrn';
const title = 'ACRN, a user VM: its name, and a known TSC frequency';

export const acrn: HypervisorModule = {
  name,
  title,
  isRelative: true,
  // Debian's kernels are built without.
  guestHalf: { option: 'CONFIG_ACRN_GUEST', symbols: ['acrn_init_platform', 'acrn_setup_intr_handler'] },
  make: (context, base = bareTable) =>
    derive(base, {
      name,
      title,
      cpu: createCpu(context),
    }),
};
