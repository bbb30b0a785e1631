/**
 * VMware as a guest sees it: bare hardware that names itself, and tells through a backdoor what a guest would otherwise have to
 * measure. Time is the TSC's, which is why the guest must be able to rely on it (Linux arch/x86/kernel/cpu/vmware.c).
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { connectPort, createBackdoor } from './backdoor.ts';
import { createCpu } from './cpu.ts';
import { createIrq } from './irq.ts';
import { createStealClock } from './time.ts';

const name = 'vmware';
const title = 'VMware: backdoor by port and hypercall, known frequencies, steal clock';

export const vmware: HypervisorModule = {
  name,
  title,
  guestHalf: {
    option: 'CONFIG_HYPERVISOR_GUEST',
    symbols: ['vmware_platform', 'vmware_platform_setup'],
    stubs: ['vmware_\\w*hypercall\\w*'],
  },
  make(context) {
    const steal = createStealClock(context);
    const backdoor = createBackdoor(steal.commands);
    connectPort(context, backdoor);
    return derive(bareTable, {
      name,
      title,
      cpu: createCpu(backdoor),
      irq: createIrq(backdoor),
      time: { resumed: steal.resumed },
      skip: {
        'a hypercall from user mode is refused':
          'programs may call (open-vm-tools do); what is for kernels only is tested in its folder',
      },
    });
  },
};
