/** Interrupts from below are the shim's, and come before the events that it makes of them for the guest. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Paravirt } from '../../paravirt/operations.ts';
import type { Shim } from './shim.ts';

export function createIrq(_context: HypervisorContext, shim: Shim, xen: Paravirt): Group<'irq'> {
  const { deliver, pending } = xen.irq;
  return {
    pending: cpu => (cpu.interrupts?.pending() ?? false) || (typeof pending === 'function' && pending(cpu)),
    deliver(cpu) {
      shim.takeInterrupts(cpu);
      if (shim.stateOf(cpu).blocked) {
        // What came was not what it waits for.
        if (!cpu.halted) shim.services.halt(cpu);
        return false;
      }
      if (cpu.halted && cpu.started) cpu.wake();
      return typeof deliver === 'function' && deliver(cpu);
    },
  };
}
