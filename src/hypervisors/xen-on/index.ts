/**
 * Xen's interface for paravirtual guests on a machine whose own interface is another hypervisor's: a shim, as Xen has one for its
 * PVH guests, and as Microsoft and XenSource agreed on in 2006 for guests of Xen on Windows' hypervisor. The guest's half of
 * what is below are the services of that (paravirt/services.ts); `xen-pv` is what the guest sees.
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { xenPv } from '../xen-pv/index.ts';
import { createBoot } from './boot.ts';
import { createIrq } from './irq.ts';
import { Shim } from './shim.ts';
import { createSmp } from './smp.ts';
import { createTime } from './time.ts';

export const xenOn: HypervisorModule = {
  name: 'xen-on',
  title: xenPv.title,
  guestHalf: xenPv.guestHalf,
  make(context, base = bareTable) {
    const shim = new Shim(context, base);
    const xen = xenPv.make(context, base);
    return derive(xen, {
      name: 'xen-on',
      title: xenPv.title,
      boot: createBoot(context, shim, xen, base),
      irq: createIrq(context, shim, xen),
      time: createTime(context, xen, base),
      smp: createSmp(context, shim, xen, base),
    });
  },
};
