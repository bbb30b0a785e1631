/** What guests do on their side of these interfaces, for the conformance suite: a line each, as in list.ts. */
import type { GuestHalf } from '../conformance/guest-half.ts';
import { bareHalf } from './bare/guest-half.ts';
import { hypervHalf } from './hyperv/guest-half.ts';
import { kvmHalf } from './kvm/guest-half.ts';
import { vmiHalf } from './vmi/guest-half.ts';
import { vmwareHalf } from './vmware/guest-half.ts';
import { xenPvHalf } from './xen-pv/guest-half.ts';
import { xenPvhHalf } from './xen-pvh/guest-half.ts';

export const guestHalves: ReadonlyMap<string, GuestHalf> = new Map(
  Object.entries({
    bare: bareHalf,
    kvm: kvmHalf,
    vmware: vmwareHalf,
    hyperv: hypervHalf,
    'xen-pvh': xenPvhHalf,
    'xen-pv': xenPvHalf,
    'xen-on-bare': xenPvHalf,
    'xen-on-kvm': xenPvHalf,
    'xen-on-hyperv': xenPvHalf,
    vmi: vmiHalf,
    acrn: bareHalf,
    jailhouse: bareHalf,
    'xen-hvm': xenPvhHalf,
  }),
);
