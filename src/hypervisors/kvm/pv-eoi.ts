/**
 * Paravirtual end of interrupt (Documentation/virt/kvm/x86/msr.rst, MSR_KVM_PV_EOI_EN): the guest names the word in
 * which it finds out whether an interrupt's end may be skipped.
 */
import { createDeferredEoi, type DeferredEoi } from '../../paravirt/deferred-eoi.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';

const KVM_MSR_ENABLED = 1n;

export interface PvEoi extends Pick<DeferredEoi, 'delivered' | 'catchUp'> {
  readonly register: Msr;
  /** INIT: the guest has named no word. */
  forget(cpu: Processor): void;
}

export function createPvEoi(context: HypervisorContext): PvEoi {
  const { memory } = context;
  const states = perProcessor(context, 'kvm/pv-eoi', 1, () => ({ MSR_KVM_PV_EOI_EN: 0n }));
  const deferred = createDeferredEoi(context, 'kvm');
  const register: Msr = {
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
  return {
    register,
    delivered: deferred.delivered,
    catchUp: deferred.catchUp,
    forget(cpu) {
      states[cpu.id].MSR_KVM_PV_EOI_EN = 0n;
      deferred.forget(cpu);
    },
  };
}
