/** Boot: Xen's own, on the machine that the shim makes of the one below, whose board stays. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Paravirt } from '../../paravirt/operations.ts';
import type { Shim } from './shim.ts';

export function createBoot(_context: HypervisorContext, shim: Shim, xen: Paravirt, base: Paravirt): Group<'boot'> {
  const { load, rebuild } = xen.boot;
  return {
    platform: base.boot.platform,
    devices: [],
    load(request) {
      if (typeof load !== 'function') throw new Error(`${xen.name} has no boot.load`);
      const { services, below } = shim;
      services.initialise(below.cpus[0]!);
      const upper = shim.context();
      return load({ ...request, memory: upper.memory }, upper);
    },
    rebuild: (_, saved) => rebuild?.(shim.context(), saved),
  };
}
