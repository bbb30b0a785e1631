/** derive(): a hypervisor from another one and the differences. Groups merge member by member; tables entry by entry. */
import type { BootOps, CpuOps, IrqOps, MmuOps, Paravirt, SmpOps, TimeOps } from './operations.ts';

export interface Differences {
  name: string;
  title: string;
  boot?: Partial<BootOps>;
  cpu?: Partial<CpuOps>;
  mmu?: Partial<MmuOps>;
  irq?: Partial<IrqOps>;
  time?: Partial<TimeOps>;
  smp?: Partial<SmpOps>;
  skip?: Readonly<Record<string, string>>;
}

/** The hypervisor that is `base` but for `differences`. Neither argument is changed. */
export function derive(base: Paravirt, differences: Differences): Paravirt {
  return {
    name: differences.name,
    title: differences.title,
    boot: { ...base.boot, ...differences.boot },
    cpu: {
      ...base.cpu,
      ...differences.cpu,
      msrs: { ...base.cpu.msrs, ...differences.cpu?.msrs },
      hypercalls: { ...base.cpu.hypercalls, ...differences.cpu?.hypercalls },
    },
    mmu: { ...base.mmu, ...differences.mmu },
    irq: { ...base.irq, ...differences.irq },
    time: { ...base.time, ...differences.time },
    smp: { ...base.smp, ...differences.smp },
    skip: { ...base.skip, ...differences.skip },
  };
}
