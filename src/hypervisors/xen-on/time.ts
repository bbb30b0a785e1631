/** Stolen time is told to both: to the shim by the interface below, and to the guest by Xen's. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Paravirt } from '../../paravirt/operations.ts';

export function createTime(_context: HypervisorContext, xen: Paravirt, base: Paravirt): Group<'time'> {
  const [above, below] = [xen.time.resumed, base.time.resumed];
  return {
    resumed(cpu, stolen) {
      if (typeof below === 'function') below(cpu, stolen);
      if (typeof above === 'function') above(cpu, stolen);
    },
  };
}
