/** All fuzzers, a line each. */
import { devices } from './devices.ts';
import type { Fuzzer } from './fuzzer.ts';
import { images } from './images.ts';
import { networkRings } from './network-rings.ts';
import { nineP } from './nine-p.ts';
import { pciRings } from './pci-rings.ts';
import { plugins } from './plugins.ts';
import { processor } from './processor.ts';
import { qcow2 } from './qcow2.ts';
import { registers } from './registers.ts';
import { reports } from './reports.ts';
import { snapshots } from './snapshots.ts';
import { virtioDevices } from './virtio-devices.ts';
import { virtqueues } from './virtqueues.ts';
import { vmbus } from './vmbus.ts';
import { xenPvHypercalls, xenPvhHypercalls } from './xen-hypercalls.ts';
import { xenPv } from './xen-pv.ts';
import { xenRings } from './xen-rings.ts';

export const fuzzers: readonly Fuzzer[] = [
  ...devices,
  images,
  networkRings,
  nineP,
  pciRings,
  plugins,
  processor,
  qcow2,
  registers,
  reports,
  snapshots,
  virtioDevices,
  virtqueues,
  xenPvhHypercalls,
  xenPvHypercalls,
  xenPv,
  xenRings,
  vmbus,
];
