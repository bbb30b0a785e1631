/** Page faults that are not the guest's: in the place of its LDT, and writes to its page tables. */
import type { MmuOps } from '../../paravirt/operations.ts';
import { faultInLdt, isLdtAddress } from './descriptors.ts';
import type { PvDomain } from './pv-domain.ts';
import { completeTableWrite } from './writable-page-tables.ts';

export function createMmu(state: () => PvDomain): Partial<MmuOps> {
  return {
    pageFault(cpu, exception) {
      const pv = state();
      const v = pv.vcpus[cpu.id]!;
      if (isLdtAddress(pv, v, exception.address)) return faultInLdt(pv, v, exception.address);
      return completeTableWrite(pv, v, exception.address, exception.code ?? 0);
    },
  };
}
