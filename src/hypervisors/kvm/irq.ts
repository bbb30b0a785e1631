/**
 * Paravirtual end of interrupt (Documentation/virt/kvm/x86/msr.rst, MSR_KVM_PV_EOI_EN): the guest names the word in
 * which it finds out whether an interrupt's end may be skipped.
 */
import { createDeferredEoi } from '../../paravirt/deferred-eoi.ts';
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';

const MSR_KVM_PV_EOI_EN = 0x4b564d04;
const KVM_MSR_ENABLED = 1n;

export function createIrq(context: HypervisorContext): Group<'irq'> {
  const { memory } = context;
  const states = perProcessor(context, 'kvm/pv-eoi', 1, () => ({ MSR_KVM_PV_EOI_EN: 0n }));
  const deferred = createDeferredEoi(context, 'kvm');

  const pvEoi: Msr = {
    name: 'MSR_KVM_PV_EOI_EN',
    read: cpu => states[cpu.id].MSR_KVM_PV_EOI_EN,
    write(cpu, value) {
      const word = Number(value & ~KVM_MSR_ENABLED);
      const enabled = (value & KVM_MSR_ENABLED) !== 0n;
      if (word % 4 !== 0 || (enabled && !memory.has(word, 4))) return false;
      states[cpu.id].MSR_KVM_PV_EOI_EN = value;
      deferred.place(cpu, enabled ? word : undefined);
      return true;
    },
  };

  return { msrs: { [MSR_KVM_PV_EOI_EN]: pvEoi }, delivered: deferred.delivered, catchUp: deferred.catchUp };
}
