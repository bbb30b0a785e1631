/** What hypervisors give one that stands on them: a line each, as in list.ts. One without a line gives what bare hardware does. */
import type { Below, MakeServices, Services } from '../paravirt/services.ts';
import { nativeServices } from './bare/services.ts';
import { hypervServices } from './hyperv/services.ts';
import { kvmServices } from './kvm/services.ts';

const makers: ReadonlyMap<string, MakeServices> = new Map(Object.entries({ kvm: kvmServices, hyperv: hypervServices }));

/** The services of `below.base`. */
export function servicesOf(below: Below): Services {
  const native = nativeServices(below);
  return { ...native, ...makers.get(below.base.name)?.(below, native) };
}
