/**
 * Processors of a PVH guest: it starts them by the local APIC, as on bare hardware, or by VCPUOP_initialise and
 * VCPUOP_up. How a processor was started is the same to Xen afterwards.
 */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { RUNSTATE_running } from '../xen/constants.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import type { PvhDomain } from './pvh-domain.ts';

export function createSmp(_context: HypervisorContext, slot: DomainSlot<PvhDomain>): Group<'smp'> {
  return {
    startUp(cpu) {
      const vcpu = slot.domain.of(cpu);
      vcpu.state.initialised = true;
      vcpu.time.setRunstate(RUNSTATE_running);
      // The start itself is as in hardware.
      return false;
    },
  };
}
