/** Processors of a PV guest: it starts and stops them by hypercalls (VCPUOP_*), and they interrupt one another by events. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { createTurns } from '../xen/turns.ts';
import { MAXIMUM_VCPUS } from './hypervisor-area.ts';
import type { PvDomain } from './pv-domain.ts';

export function createSmp(_context: HypervisorContext, slot: DomainSlot<PvDomain>): Group<'smp'> {
  return { maximum: MAXIMUM_VCPUS, ...createTurns(cpu => slot.built?.vcpus[cpu.id]?.vcpu) };
}
