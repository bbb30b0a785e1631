/** Tells the guest what the host took of it, and keeps its time records true when it sets its time-stamp counter. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import type { PvhDomain } from './pvh-domain.ts';

export function createTime(_context: HypervisorContext, slot: DomainSlot<PvhDomain>): Group<'time'> {
  return {
    resumed: (cpu, stolen) => slot.built?.of(cpu).time.stolen(stolen),
    tscMoved: cpu => slot.built?.of(cpu).time.updateRecord(true),
  };
}
