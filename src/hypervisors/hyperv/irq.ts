/** The local APIC by registers that cost less than its own (TLFS chapter 10), and the assist page with its lazy EOI. */
import { createDeferredEoi } from '../../paravirt/deferred-eoi.ts';
import type { HypervisorContext, IrqOps, Msr } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { isUsable, pageOf } from './pages.ts';

const HV_X64_MSR_EOI = 0x40000070;
const HV_X64_MSR_ICR = 0x40000071;
const HV_X64_MSR_TPR = 0x40000072;
const HV_X64_MSR_VP_ASSIST_PAGE = 0x40000073;

/** @param endsItself tells of a vector whose interrupts need no end */
export function createIrq({ memory }: HypervisorContext, endsItself: (cpu: Processor, vector: number) => boolean) {
  const assistPages = new Map<number, bigint>();
  const deferred = createDeferredEoi(memory);

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
    [HV_X64_MSR_VP_ASSIST_PAGE]: {
      name: 'HV_X64_MSR_VP_ASSIST_PAGE',
      read: cpu => assistPages.get(cpu.id) ?? 0n,
      write(cpu, value) {
        if (!isUsable(memory, value)) return false;
        assistPages.set(cpu.id, value);
        // ApicAssist is the page's first word.
        const page = pageOf(value);
        deferred.place(cpu, page);
        if (page !== undefined) memory.write32(page, 0);
        return true;
      },
    },
  };

  const ops: Partial<IrqOps> = {
    settle: deferred.settle,
    delivered(cpu, vector) {
      if (endsItself(cpu, vector)) cpu.interrupts?.endOfInterrupt();
      else deferred.delivered(cpu);
    },
  };
  return { msrs, ops };
}
