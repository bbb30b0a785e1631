/** Exceptions and events of a PV guest: some are requests to Xen in disguise, all others are bounced to the guest. */

import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import * as vectors from '../../x86/vectors.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { RFLAGS_RF } from './bounce.ts';
import { passGate } from './call-gates.ts';
import { emulatePrivileged, instructionBytes, isForcedEmulation } from './emulate.ts';
import type { PvDomain } from './pv-domain.ts';
import { deliverable, deliverPending, exceptionToGuest, softwareInterruptToGuest, stepOver } from './traps.ts';

/** Bytes of the prefix of a forced emulation: ud2, "xen". */
const FORCED_EMULATION_LENGTH = 5n;

export function createIrq(_context: HypervisorContext, slot: DomainSlot<PvDomain>): Group<'irq'> {
  return {
    exception(cpu, exception) {
      const pv = slot.domain;
      const v = pv.vcpus[cpu.id]!;
      const { vector, code } = exception;
      if (vector === vectors.GP && !code && emulatePrivileged(pv, v)) {
        // RF is for an instruction that is tried again.
        cpu.set('flags', cpu.get('flags') & ~RFLAGS_RF);
        stepOver(pv, v);
        return true;
      }
      if (vector === vectors.GP && code && !(code & vectors.ERROR_IDT) && pv.abi.passesGates) {
        const refusal = passGate(pv, v, code);
        if (refusal) exceptionToGuest(pv, v, refusal);
        else {
          cpu.set('flags', cpu.get('flags') & ~RFLAGS_RF);
          stepOver(pv, v);
        }
        return true;
      }
      if (vector === vectors.UD && isForcedEmulation(instructionBytes(pv, v))) {
        // What follows the prefix is a CPUID, and every CPUID is answered alike.
        cpu.set('rip', cpu.get('rip') + FORCED_EMULATION_LENGTH);
        cpu.set('flags', cpu.get('flags') & ~RFLAGS_RF);
        return true;
      }
      exceptionToGuest(pv, v, exception);
      return true;
    },
    softwareInterrupt(cpu, vector, next) {
      const pv = slot.domain;
      softwareInterruptToGuest(pv, pv.vcpus[cpu.id]!, vector, next);
    },
    deliver(cpu) {
      const pv = slot.domain;
      return deliverPending(pv, pv.vcpus[cpu.id]!);
    },
    pending: cpu => deliverable(slot.domain.vcpus[cpu.id]!),
  };
}
