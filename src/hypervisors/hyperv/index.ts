/**
 * Hyper-V as a guest sees it: bare hardware that names itself, keeps reference time, has an interrupt controller and timers of
 * its own beside the local APIC, and a VMBus with nothing on it (Hypervisor Top Level Functional Specification 6.0b).
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createCpuid, createIdentity } from './cpu.ts';
import { createCrash } from './crash.ts';
import { convention, createHypercall, hypercalls } from './hypercall.ts';
import { createIrq } from './irq.ts';
import { createSynic } from './synic.ts';
import { createTime } from './time.ts';
import { createTimers } from './timers.ts';
import { createVmbus, VMBUS_DEVICE } from './vmbus.ts';

const name = 'hyperv';
const title = 'Hyper-V: reference time, synthetic interrupts and timers, crash registers, an empty VMBus';

export const hyperv: HypervisorModule = {
  name,
  title,
  guestHalf: {
    option: 'CONFIG_HYPERVISOR_GUEST',
    symbols: ['ms_hyperv_platform', 'ms_hyperv_init_platform'],
    stubs: ['(?:__)?hv_(?:do_)?\\w*hypercall\\w*'],
  },
  make(context) {
    const identity = createIdentity(context);
    const time = createTime(context);
    const synic = createSynic(context);
    const timers = createTimers(context, synic);
    const irq = createIrq(context, synic.endsItself);
    const crash = createCrash(context);
    const vmbus = createVmbus(context, synic);
    return derive(bareTable, {
      name,
      title,
      boot: { devices: [VMBUS_DEVICE] },
      cpu: {
        cpuid: createCpuid(context),
        hypercall: createHypercall(context, vmbus, () => identity.mayCall),
        hypercalls,
        convention,
        msrs: { ...identity.msrs, ...time.msrs, ...irq.msrs, ...synic.msrs, ...timers.msrs, ...crash.msrs },
      },
      irq: irq.ops,
    });
  },
};
