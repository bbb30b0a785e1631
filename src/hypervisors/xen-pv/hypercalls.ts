/** All hypercalls of a PV guest: what every guest of Xen has, and what only a PV guest needs. */
import { __HYPERVISOR_physdev_op, __HYPERVISOR_vcpu_op, __HYPERVISOR_vm_assist, EINVAL } from '../xen/constants.ts';
import type { HypercallEntry, HypercallTable } from '../xen/hypercall.ts';
import { compatibleHypercalls } from '../xen/hypercalls/compatible.ts';
import { physdev_op } from '../xen/hypercalls/physdev-op.ts';
import { privilegedPv } from '../xen/hypercalls/privileged.ts';
import { initialise, VCPUOP_initialise, VCPUOP_send_nmi, vcpu_op } from '../xen/hypercalls/vcpu-op.ts';
import { commonHypercalls } from '../xen/hypercalls.ts';
import { publish } from './cells.ts';
import { cpuHypercalls } from './cpu-hypercalls.ts';
import { initialisePv } from './initialise.ts';
import { pvMemoryOp } from './memory-op.ts';
import { mmuHypercalls } from './mmu-hypercalls.ts';
import type { PvDomain } from './pv-domain.ts';

/**
 * @param domain the domain, once it is built: a table is there before, for documentation and traces.
 * @param differences what 32-bit guests have otherwise.
 */
export function pvHypercalls(domain: () => PvDomain, differences: HypercallTable = {}): HypercallTable {
  const table: Record<number, HypercallEntry> = {
    ...commonHypercalls(() => table),
    ...privilegedPv,
    ...physdev_op,
    ...compatibleHypercalls,
    ...cpuHypercalls(domain),
    ...mmuHypercalls(domain),
    ...pvMemoryOp(domain),
    ...vcpu_op(
      {
        [VCPUOP_initialise]: initialise((call, vcpu, argument) => initialisePv(domain(), call, vcpu, argument)),
        [VCPUOP_send_nmi](_, vcpu, argument) {
          if (argument !== 0n) return -EINVAL;
          domain().of(vcpu).state.nmiPending = true;
          vcpu.wake();
          vcpu.cpu.attention();
          return 0;
        },
      },
      'VCPUOP_initialise takes no image of the FPU, and 32-bit guests have one processor',
    ),
    ...differences,
  };
  for (const number of [__HYPERVISOR_vm_assist, __HYPERVISOR_vcpu_op, __HYPERVISOR_physdev_op])
    table[number] = publishing(table[number]!, domain);
  return table;
}

/** `entry`, after which fast paths learn of what it may have changed for any processor. */
function publishing(entry: HypercallEntry, domain: () => PvDomain): HypercallEntry {
  const { run } = entry;
  if (!run) throw new Error(`${entry.name} has no run`);
  return {
    ...entry,
    run(call) {
      const result = run(call);
      for (const v of domain().vcpus) publish(v);
      return result;
    },
  };
}
