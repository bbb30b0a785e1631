/** HYPERVISOR_set_timer_op: the older way to the one-shot timer. */
import { __HYPERVISOR_set_timer_op } from '../constants.ts';
import type { HypercallTable } from '../hypercall.ts';

export const set_timer_op: HypercallTable = {
  [__HYPERVISOR_set_timer_op]: {
    name: 'HYPERVISOR_set_timer_op',
    arguments: ['timeout'],
    status: 'done',
    run(call) {
      // A 32-bit caller passes the 64-bit time in two registers, low half first.
      const timeout = call.width === 64 ? call.argument(0) : call.argument(0) | (call.argument(1) << 32n);
      const { time } = call.vcpu;
      if (timeout === 0n) time.stopSingleshot();
      else time.setSingleshot(Number(BigInt.asIntN(64, timeout)));
      return 0;
    },
  },
};
