/** Keeps the guest's time records true when the host has held the machine up. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import type { PvhDomain } from './pvh-domain.ts';

export function createTime(_context: HypervisorContext, slot: DomainSlot<PvhDomain>): Group<'time'> {
  return { resumed: cpu => slot.built?.of(cpu).time.updateRecord() };
}
