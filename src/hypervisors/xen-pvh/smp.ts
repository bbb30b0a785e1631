/**
 * Processors of a PVH guest: it starts them by the local APIC, as on bare hardware, or by VCPUOP_initialise and
 * VCPUOP_up. How a processor was started is the same to Xen afterwards.
 */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { createTurns } from '../xen/turns.ts';
import type { PvhDomain } from './pvh-domain.ts';

export function createSmp(_context: HypervisorContext, slot: DomainSlot<PvhDomain>): Group<'smp'> {
  return {
    ...createTurns(cpu => slot.built?.of(cpu)),
    startUp(cpu) {
      const vcpu = slot.domain.of(cpu);
      vcpu.state.initialised = true;
      vcpu.time.setRunning();
      // The start itself is as in hardware.
      return false;
    },
  };
}
