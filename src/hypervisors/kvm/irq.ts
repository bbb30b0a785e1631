/**
 * Paravirtual end of interrupt (Documentation/virt/kvm/x86/msr.rst, MSR_KVM_PV_EOI_EN). After delivering an interrupt whose
 * end nothing waits for, the hypervisor sets a bit in a word of the guest's; the guest ends the interrupt by clearing it, and
 * writes the APIC's register only if it finds it clear. Before the APIC is next asked, what the guest did is caught up on.
 */
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';

const MSR_KVM_PV_EOI_EN = 0x4b564d04;
const KVM_MSR_ENABLED = 1n;
/** Bit 0 of the word: the end may be skipped. */
const KVM_PV_EOI_ENABLED = 1;

interface PvEoi {
  value: bigint;
  /** The bit was set and it is not yet known what the guest made of it. */
  pending: boolean;
}

export function createPvEoi({ memory }: HypervisorContext) {
  const states = new Map<number, PvEoi>();
  const stateOf = (cpu: Processor): PvEoi => {
    let state = states.get(cpu.id);
    if (!state) states.set(cpu.id, (state = { value: 0n, pending: false }));
    return state;
  };

  const settle = (cpu: Processor): void => {
    const state = stateOf(cpu);
    if (!state.pending) return;
    state.pending = false;
    const word = Number(state.value & ~KVM_MSR_ENABLED);
    const flags = memory.read32(word);
    if (flags & KVM_PV_EOI_ENABLED) memory.write32(word, flags & ~KVM_PV_EOI_ENABLED);
    else cpu.interrupts?.endOfInterrupt();
  };

  const delivered = (cpu: Processor): void => {
    const state = stateOf(cpu);
    if (!(state.value & KVM_MSR_ENABLED) || !cpu.interrupts?.canDeferEndOfInterrupt()) return;
    const word = Number(state.value & ~KVM_MSR_ENABLED);
    memory.write32(word, memory.read32(word) | KVM_PV_EOI_ENABLED);
    state.pending = true;
  };

  const msr: Msr = {
    name: 'MSR_KVM_PV_EOI_EN',
    read: cpu => stateOf(cpu).value,
    write(cpu, value) {
      const word = Number(value & ~KVM_MSR_ENABLED);
      if (word % 4 !== 0 || (value & KVM_MSR_ENABLED && !memory.has(word, 4))) return false;
      settle(cpu);
      stateOf(cpu).value = value;
      return true;
    },
  };

  return { msrs: { [MSR_KVM_PV_EOI_EN]: msr }, delivered, settle };
}
