/**
 * Hyper-V as a guest sees it: bare hardware that names itself, keeps reference time, has an interrupt controller and
 * timers of its own besides the local APIC, and a VMBus with its devices (Hypervisor Top Level Functional
 * Specification 6.0b).
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createBoot } from './boot.ts';
import { createCpu } from './cpu.ts';
import { requestMemory, requestShutdown, vmbusDevices, vmbusSockets } from './devices.ts';
import { createIrq } from './irq.ts';
import { createSynic } from './synic.ts';
import { createTime } from './time.ts';
import { createVmbus } from './vmbus.ts';

const name = 'hyperv';
const title =
  'Hyper-V: reference time, synthetic interrupts and timers, IPIs and TLB flushes by hypercall, crash registers, VMBus';

export const hyperv: HypervisorModule = {
  name,
  title,
  guestHalf: {
    option: 'CONFIG_HYPERVISOR_GUEST',
    symbols: ['ms_hyperv_platform', 'ms_hyperv_init_platform'],
    stubs: ['(?:__)?hv_(?:do_)?\\w*hypercall\\w*'],
  },
  make(context, base = bareTable) {
    const synic = createSynic(context);
    const sockets = vmbusSockets(context);
    const vmbus = createVmbus(context, synic, vmbusDevices(context), sockets);
    return derive(base, {
      name,
      title,
      boot: createBoot(context),
      cpu: createCpu(context, vmbus),
      irq: createIrq(context, synic),
      time: createTime(context, synic),
      restored: () => sockets?.restored(),
      requestShutdown: () => requestShutdown(vmbus.devices),
      requestMemory: bytes => requestMemory(vmbus.devices, bytes),
    });
  },
};
