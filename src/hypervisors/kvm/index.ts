/**
 * KVM as a guest sees it: bare hardware that names itself, keeps a clock record in the guest's memory, tells of stolen
 * time, lets most ends of interrupts be a bit in memory, and sends, wakes and flushes on behalf of processors (Linux
 * Documentation/virt/kvm/x86/{cpuid,msr,hypercalls}.rst).
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createCpu } from './cpu.ts';
import { createIrq } from './irq.ts';
import { createProcessorCalls } from './processor-calls.ts';
import { createPvEoi } from './pv-eoi.ts';
import { createSmp } from './smp.ts';
import { createStealTime } from './steal-time.ts';
import { createSystemTime } from './system-time.ts';
import { createTime } from './time.ts';
import { createUnhalt } from './unhalt.ts';

const name = 'kvm';
const title = 'KVM: kvmclock, steal time, paravirtual end of interrupt, IPIs, TLB flushes and spinlocks';

export const kvm: HypervisorModule = {
  name,
  title,
  guestHalf: {
    option: 'CONFIG_KVM_GUEST',
    symbols: ['kvm_guest_init', 'kvm_init_platform', 'kvmclock_init'],
    stubs: ['kvm_(?:do_)?\\w*hypercall\\w*'],
  },
  make(context, base = bareTable) {
    const [systemTime, stealTime] = [createSystemTime(context), createStealTime(context)];
    const [pvEoi, unhalt] = [createPvEoi(context), createUnhalt(context)];
    return derive(base, {
      name,
      title,
      cpu: createCpu(context, createProcessorCalls(context, unhalt)),
      irq: createIrq(context, pvEoi, unhalt),
      time: createTime(context, systemTime, stealTime),
      smp: createSmp(context, stealTime, [systemTime, stealTime, pvEoi, unhalt]),
    });
  },
};
