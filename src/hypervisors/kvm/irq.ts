/** Interrupts under KVM: an end that may be a bit in memory, and a halt that another processor's kick ends. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { PvEoi } from './pv-eoi.ts';
import type { Unhalt } from './unhalt.ts';

const MSR_KVM_PV_EOI_EN = 0x4b564d04;

export function createIrq(_context: HypervisorContext, pvEoi: PvEoi, unhalt: Unhalt): Group<'irq'> {
  return {
    msrs: { [MSR_KVM_PV_EOI_EN]: pvEoi.register },
    delivered: pvEoi.delivered,
    catchUp: pvEoi.catchUp,
    halt: unhalt.halt,
  };
}
