/**
 * Xen, as a paravirtual guest sees it (a PV domU of Xen 4.17): the hypervisor furthest from bare hardware. The guest's
 * kernel runs in ring 3 (a 64-bit one) or ring 1 (a 32-bit one with PAE) on page tables of its own, every change of
 * which is checked; it asks for things by SYSCALL or INT 82h, and is told of things by frames that Xen pushes on its
 * stack. abi64.ts and abi32.ts are what the two kinds of guest do differently.
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { DomainSlot } from '../xen/domain-slot.ts';
import { requestMemory, requestShutdown } from '../xen/toolstack.ts';
import { createBoot } from './boot.ts';
import { createCpu } from './cpu.ts';
import { fastPaths } from './fast-paths.ts';
import { createIrq } from './irq.ts';
import { createMmu } from './mmu.ts';
import type { PvDomain } from './pv-domain.ts';
import { createSmp } from './smp.ts';
import { createTime } from './time.ts';

const name = 'xen-pv';
const title = 'Xen 4.17, PV: a kernel at CPL 3, checked page tables, hypercalls for everything';

export const xenPv: HypervisorModule = {
  name,
  title,
  guestHalf: {
    option: 'CONFIG_XEN_PV',
    symbols: ['xen_start_kernel'],
    stubs: [
      'xen_hypercall\\w*|HYPERVISOR_\\w+|xen_mc_(?:flush|issue|batch)|__xen_mc_entry|xen_extend_mmuext_op',
      'xen_cpuid|xen_(?:do_)?(?:read|write)_msr(?:_safe)?',
    ],
  },
  make(context, base = bareTable) {
    const slot = new DomainSlot<PvDomain>();
    return derive(base, {
      name,
      title,
      boot: createBoot(context, slot),
      cpu: createCpu(context, slot),
      mmu: createMmu(context, slot),
      irq: createIrq(context, slot),
      time: createTime(context, slot),
      smp: createSmp(context, slot),
      skip: {
        'an interrupt for some processors reaches these and no others':
          'processors send one another events, which have no vectors: see the tests in its folder and in xen-pvh',
      },
      fastPaths: fastPaths,
      restored() {
        slot.built?.attach();
      },
      requestShutdown: () => slot.built !== undefined && requestShutdown(slot.built.domain),
      requestMemory: bytes => slot.built !== undefined && requestMemory(slot.built.domain, bytes),
    });
  },
};
