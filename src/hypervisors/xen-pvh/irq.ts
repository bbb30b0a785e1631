/**
 * Events that bypass the local APIC: what a guest gets that sets HVM_PARAM_CALLBACK_IRQ to a vector and no upcall
 * vector of its own. Level-like: delivered whenever an upcall is pending and interrupts are open, with no end to be
 * signalled. And HLT, which on Xen is also how a guest without power management turns itself off.
 */

import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { IF } from '../../x86/flags.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { forcedEmulation } from './forced-emulation.ts';
import type { PvhDomain } from './pvh-domain.ts';

const INTERRUPT_FLAG = BigInt(IF);

/** @param forced instructions behind the prefix of forced emulation are executed */
export function createIrq(_context: HypervisorContext, slot: DomainSlot<PvhDomain>, forced: boolean): Group<'irq'> {
  /** The vector to deliver past the local APIC now, or 0. */
  function direct(cpu: Processor): number {
    const pvh = slot.built;
    if (!pvh?.state.callbackVector || pvh.state.upcallVectors.has(cpu.id)) return 0;
    return pvh.of(cpu).upcallPending ? pvh.state.callbackVector : 0;
  }

  const open = (cpu: Processor) => (cpu.get('flags') & INTERRUPT_FLAG) !== 0n;

  return {
    ...(forced ? forcedEmulation : {}),
    // Whether interrupts are open is not asked here: one that waits for that is to be delivered as soon as they are.
    pending: cpu => direct(cpu) !== 0 || (cpu.interrupts?.pending() ?? false),
    halt(cpu) {
      // With interrupts closed nothing could ever wake it: the processor is down, and with the last one the domain.
      if (open(cpu)) cpu.halt();
      else slot.domain.of(cpu).stop();
    },
    deliver(cpu) {
      if (!open(cpu)) return false;
      const vector = direct(cpu) || (cpu.interrupts?.acknowledge() ?? -1);
      if (vector < 0) return false;
      cpu.interrupt(vector);
      return true;
    },
  };
}
