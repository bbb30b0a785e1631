/** All hypercalls of a PV guest: what every guest of Xen has, and what only a PV guest needs. */

import type { Hypercall } from '../../paravirt/operations.ts';
import { __HYPERVISOR_grant_table_op, __HYPERVISOR_xenpmu_op, EOPNOTSUPP } from '../xen/constants.ts';
import type { HypercallTable } from '../xen/hypercall.ts';
import { grant_table_op } from '../xen/hypercalls/grant-table-op.ts';
import { physdev_op } from '../xen/hypercalls/physdev-op.ts';
import { VCPUOP_send_nmi, vcpu_op } from '../xen/hypercalls/vcpu-op.ts';
import { commonHypercalls } from '../xen/hypercalls.ts';
import { cpuHypercalls } from './cpu-hypercalls.ts';
import { pvMemoryOp } from './memory-op.ts';
import { mmuHypercalls } from './mmu-hypercalls.ts';
import { pvMulticall } from './multicall.ts';
import type { PvDomain } from './pv-domain.ts';

export function pvHypercalls(pv: PvDomain): HypercallTable {
  const grants = grant_table_op[__HYPERVISOR_grant_table_op]!;
  const table: HypercallTable = {
    ...commonHypercalls(() => table),
    ...physdev_op,
    ...cpuHypercalls(pv),
    ...mmuHypercalls(pv),
    ...pvMemoryOp(pv),
    ...pvMulticall(pv, () => table),
    ...vcpu_op({
      [VCPUOP_send_nmi](_, vcpu) {
        pv.of(vcpu).nmiPending = true;
        vcpu.cpu.attention();
        return 0;
      },
    }),
    [__HYPERVISOR_grant_table_op]: {
      ...grants,
      run(call) {
        const result = grants.run(call);
        // The table may have grown, and the guest maps its frames by machine address.
        pv.shareGrantFrames();
        return result;
      },
    },
    [__HYPERVISOR_xenpmu_op]: {
      name: 'HYPERVISOR_xenpmu_op',
      arguments: ['op', 'arg'],
      status: 'done',
      note: 'switched off, as by default: -EOPNOTSUPP',
      run: () => -EOPNOTSUPP,
    },
  };
  return table;
}

/** What documentation and traces are made from, without a domain. */
export const hypercallNames: Readonly<Record<number, Hypercall>> = pvHypercalls(undefined as unknown as PvDomain);
