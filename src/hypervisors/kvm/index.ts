/**
 * KVM as a guest sees it: bare hardware that names itself, keeps a clock record in the guest's memory, tells of stolen
 * time and lets most ends of interrupts be a bit in memory (Linux
 * Documentation/virt/kvm/x86/{cpuid,msr,hypercalls}.rst).
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createCpu } from './cpu.ts';
import { createIrq } from './irq.ts';
import { createTime } from './time.ts';

const name = 'kvm';
const title = 'KVM: kvmclock, steal time, paravirtual end of interrupt';

export const kvm: HypervisorModule = {
  name,
  title,
  guestHalf: {
    option: 'CONFIG_KVM_GUEST',
    symbols: ['kvm_guest_init', 'kvm_init_platform', 'kvmclock_init'],
    stubs: ['kvm_(?:do_)?\\w*hypercall\\w*'],
  },
  make: (context, base = bareTable) =>
    derive(base, {
      name,
      title,
      cpu: createCpu(context),
      irq: createIrq(context),
      time: createTime(context),
    }),
};
