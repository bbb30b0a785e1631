/** A processor starts by a message from below; Xen has set its registers before. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Paravirt } from '../../paravirt/operations.ts';
import type { Shim } from './shim.ts';

export function createSmp(_context: HypervisorContext, shim: Shim, base: Paravirt): Group<'smp'> {
  const { startUp } = base.smp;
  return {
    startUp(cpu, vector) {
      if (typeof startUp === 'function') startUp(cpu, vector);
      shim.services.initialise(cpu);
      cpu.start();
      return true;
    },
  };
}
