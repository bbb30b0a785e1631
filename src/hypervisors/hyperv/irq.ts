/**
 * Interrupts under Hyper-V: the local APIC by registers that cost less than its own (TLFS chapter 10), the assist page
 * with its lazy EOI, and the synthetic interrupt controller's registers.
 */
import { createDeferredEoi } from '../../paravirt/deferred-eoi.ts';
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import { isUsable, pageOf } from './pages.ts';
import type { Synic } from './synic.ts';

const HV_X64_MSR_EOI = 0x40000070;
const HV_X64_MSR_ICR = 0x40000071;
const HV_X64_MSR_TPR = 0x40000072;
const HV_X64_MSR_VP_ASSIST_PAGE = 0x40000073;
const HV_X64_MSR_GUEST_IDLE = 0x400000f0;

export function createIrq(context: HypervisorContext, synic: Synic): Group<'irq'> {
  const { memory } = context;
  const states = perProcessor(context, 'hyperv/assist-page', 1, () => ({ assistPage: 0n }));
  const deferred = createDeferredEoi(context, 'hyperv');

  const msrs: Record<number, Msr> = {
    [HV_X64_MSR_EOI]: {
      name: 'HV_X64_MSR_EOI',
      write(cpu, value) {
        if (value >= 2n ** 32n) return false;
        cpu.interrupts?.endOfInterrupt();
        return true;
      },
    },
    [HV_X64_MSR_ICR]: {
      name: 'HV_X64_MSR_ICR',
      read: cpu => cpu.interrupts?.interruptCommand ?? 0n,
      write(cpu, value) {
        if (cpu.interrupts) cpu.interrupts.interruptCommand = value;
        return true;
      },
    },
    [HV_X64_MSR_TPR]: {
      name: 'HV_X64_MSR_TPR',
      read: cpu => BigInt(cpu.interrupts?.taskPriority ?? 0),
      write(cpu, value) {
        if (value > 0xffn) return false;
        if (cpu.interrupts) cpu.interrupts.taskPriority = Number(value);
        return true;
      },
    },
    // TLFS 10.1.4: reading it stops the processor until an interrupt is pending, whatever RFLAGS.IF is.
    [HV_X64_MSR_GUEST_IDLE]: {
      name: 'HV_X64_MSR_GUEST_IDLE',
      read(cpu) {
        cpu.halt(true);
        return 0n;
      },
    },
    [HV_X64_MSR_VP_ASSIST_PAGE]: {
      name: 'HV_X64_MSR_VP_ASSIST_PAGE',
      read: cpu => states[cpu.id].assistPage,
      write(cpu, value) {
        if (!isUsable(memory, value)) return false;
        states[cpu.id].assistPage = value;
        // ApicAssist is the page's first word.
        const page = pageOf(value);
        deferred.place(cpu, page);
        if (page !== undefined) memory.write32(page, 0);
        return true;
      },
    },
  };

  return {
    msrs: { ...msrs, ...synic.msrs },
    catchUp: deferred.catchUp,
    delivered(cpu, vector) {
      if (synic.endsItself(cpu, vector)) cpu.interrupts?.endOfInterrupt();
      else deferred.delivered(cpu);
    },
  };
}
