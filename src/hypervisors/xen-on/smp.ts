/**
 * A processor starts by a message from below; Xen has set its registers before. Its turns are told to both: to the shim by the interface
 * below, and to the guest by Xen's.
 */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Paravirt, SmpOps } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import type { Shim } from './shim.ts';

export function createSmp(_context: HypervisorContext, shim: Shim, xen: Paravirt, base: Paravirt): Group<'smp'> {
  const { startUp } = base.smp;
  const toBoth = (name: keyof Pick<SmpOps, 'scheduledIn' | 'scheduledOut'>) => {
    const [above, below] = [xen.smp[name], base.smp[name]];
    return (cpu: Processor) => {
      if (typeof below === 'function') below(cpu);
      if (typeof above === 'function') above(cpu);
    };
  };
  return {
    startUp(cpu, vector) {
      if (typeof startUp === 'function') startUp(cpu, vector);
      shim.services.initialise(cpu);
      cpu.start();
      return true;
    },
    scheduledIn: toBoth('scheduledIn'),
    scheduledOut: toBoth('scheduledOut'),
  };
}
