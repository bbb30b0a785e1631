/**
 * The hypervisors, in the order `polyvisor list` shows them. A new one is a folder next to this file and a line here.
 */
import type { HypervisorModule } from '../paravirt/operations.ts';
import { bare } from './bare/index.ts';
import { hyperv } from './hyperv/index.ts';
import { kvm } from './kvm/index.ts';
import { vmi } from './vmi/index.ts';
import { vmware } from './vmware/index.ts';
import { xenPv } from './xen-pv/index.ts';
import { xenPvh } from './xen-pvh/index.ts';

export const hypervisors: readonly HypervisorModule[] = [bare, kvm, vmware, hyperv, xenPvh, xenPv, vmi];

export function findHypervisor(name: string): HypervisorModule | undefined {
  return hypervisors.find(hypervisor => hypervisor.name === name);
}
