/**
 * Xen as a PVH guest sees it: the processor, its page tables and its local APIC are hardware's; all else of a PC is
 * gone. In its place are hypercalls, event channels, a shared page of time, and rings for the store, the console and
 * the disks.
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorContext, HypervisorModule, Paravirt } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { DomainSlot } from '../xen/domain-slot.ts';
import { requestMemory, requestShutdown } from '../xen/toolstack.ts';
import { createBoot } from './boot.ts';
import { createCpu } from './cpu.ts';
import { HVM_FEP } from './forced-emulation.ts';
import { createIrq } from './irq.ts';
import type { PvhDomain } from './pvh-domain.ts';
import { createSmp } from './smp.ts';
import { createTime } from './time.ts';

const name = 'xen-pvh';
const title = 'Xen 4.17, PVH: hypercalls, event channels, no PC underneath';

export const xenPvh: HypervisorModule = {
  name,
  title,
  guestHalf: { option: 'CONFIG_XEN_PVH', symbols: ['xen_pvh_init', 'xen_prepare_pvh'] },
  options: { [HVM_FEP]: 'instructions after UD2 and the letters "xen" are executed, as tests of emulation want it' },
  make: (context, base = bareTable, options?) => pvhTable(context, new DomainSlot<PvhDomain>(), base, options),
};

/** @param slot takes the domain that `boot.load` builds: another kind of guest with hardware's page tables may bring a `load` of its own */
export function pvhTable(
  context: HypervisorContext,
  slot: DomainSlot<PvhDomain>,
  base: Paravirt,
  options?: ReadonlySet<string>,
): Paravirt {
  return derive(base, {
    name,
    title,
    boot: createBoot(context, slot),
    cpu: createCpu(context, slot),
    irq: createIrq(context, slot, options?.has(HVM_FEP) ?? false),
    time: createTime(context, slot),
    smp: createSmp(context, slot),
    requestShutdown: () => slot.built !== undefined && requestShutdown(slot.built.domain),
    requestMemory: bytes => slot.built !== undefined && requestMemory(slot.built.domain, bytes),
    restoring: () => slot.built?.restoring(),
    restored: () => slot.built?.restored(),
  });
}
