/** Tells the guest what the host took of it. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import type { PvDomain } from './pv-domain.ts';

export function createTime(_context: HypervisorContext, slot: DomainSlot<PvDomain>): Group<'time'> {
  // A PV guest cannot set its time-stamp counter: Xen ignores the attempt.
  return { resumed: (cpu, stolen) => slot.domain.vcpus[cpu.id]!.vcpu.time.stolen(stolen) };
}
