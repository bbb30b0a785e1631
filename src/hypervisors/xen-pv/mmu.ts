/** Page faults that are not the guest's: in the place of its LDT, and writes to its page tables. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { faultInLdt, isLdtAddress } from './descriptors.ts';
import type { PvDomain } from './pv-domain.ts';
import { completeTableWrite } from './writable-page-tables.ts';

export function createMmu(_context: HypervisorContext, slot: DomainSlot<PvDomain>): Group<'mmu'> {
  return {
    pageFault(cpu, exception) {
      const pv = slot.domain;
      const v = pv.vcpus[cpu.id]!;
      if (isLdtAddress(pv, v, exception.address)) return faultInLdt(pv, v, exception.address);
      return completeTableWrite(pv, v, exception.address, exception.code ?? 0);
    },
  };
}
