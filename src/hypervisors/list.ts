/**
 * The hypervisors, in the order `polyvisor list` shows them. A new one is a folder next to this file and a line here.
 */
import type { HypervisorModule } from '../paravirt/operations.ts';
import { makeUnder } from '../paravirt/under.ts';
import { acrn } from './acrn/index.ts';
import { bare } from './bare/index.ts';
import { hyperv } from './hyperv/index.ts';
import { jailhouse } from './jailhouse/index.ts';
import { kvm } from './kvm/index.ts';
import { vmi } from './vmi/index.ts';
import { vmware } from './vmware/index.ts';
import { xenHvm } from './xen-hvm/index.ts';
import { xenOn } from './xen-on/index.ts';
import { xenPv } from './xen-pv/index.ts';
import { xenPvh } from './xen-pvh/index.ts';

/** `upper` on a machine whose interface is that of `lower`. */
const over = (upper: HypervisorModule, lower: HypervisorModule): HypervisorModule => {
  const name = `${upper.name}-${lower.name}`;
  const title = `${upper.title}; below it ${lower.name}`;
  return {
    ...upper,
    name,
    title,
    under: lower,
    isRelative: true,
    make: (context, base = makeUnder(lower, context)) => ({ ...upper.make(context, base), name, title }),
  };
};

export const hypervisors: readonly HypervisorModule[] = [
  bare,
  kvm,
  vmware,
  hyperv,
  xenPvh,
  xenPv,
  vmi,
  acrn,
  jailhouse,
  xenHvm,
  over(xenOn, bare),
  over(xenOn, kvm),
  over(xenOn, hyperv),
];

/**
 * The hypervisor of that name; after commas, options of it that are wanted: `xen-pvh,hvm_fep`. Undefined: there is no
 * such hypervisor, or it has no such option.
 */
export function findHypervisor(name: string): HypervisorModule | undefined {
  const [word, ...options] = name.split(',');
  const module = hypervisors.find(hypervisor => hypervisor.name === word);
  if (!module || options.length === 0) return module;
  if (!options.every(option => Object.hasOwn(module.options ?? {}, option))) return undefined;
  return { ...module, name, make: (context, base) => module.make(context, base, new Set(options)) };
}
