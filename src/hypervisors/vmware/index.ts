/**
 * VMware as a guest sees it: bare hardware that names itself, and tells through a backdoor what a guest would otherwise
 * have to measure. Time is the TSC's, so the guest must be able to rely on it (Linux arch/x86/kernel/cpu/vmware.c).
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createBackdoor } from './backdoor.ts';
import { createBoot } from './boot.ts';
import { createCpu } from './cpu.ts';
import { createIrq } from './irq.ts';
import { createTime } from './time.ts';

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
  make(context, base = bareTable) {
    const backdoor = createBackdoor(context);
    return derive(base, {
      name,
      title,
      boot: createBoot(context),
      cpu: createCpu(context, backdoor),
      irq: createIrq(context, backdoor),
      time: createTime(context, backdoor),
      skip: {
        'a hypercall from user mode is refused':
          'programs may call (open-vm-tools do); what is for kernels only is tested in its folder',
      },
    });
  },
};
