/** The hypercalls of 32-bit PV guests whose arguments are other ones: 64-bit values take two, entry points a segment. */
import {
  __HYPERVISOR_set_callbacks,
  __HYPERVISOR_set_segment_base,
  __HYPERVISOR_update_descriptor,
  ENOSYS,
} from '../xen/constants.ts';
import type { HypercallTable } from '../xen/hypercall.ts';
import { CALLBACKTYPE_event, CALLBACKTYPE_failsafe, registerCallback } from './cpu-hypercalls.ts';
import { updateDescriptor } from './descriptors.ts';
import type { PvDomain } from './pv-domain.ts';

export function hypercalls32(domain: () => PvDomain): HypercallTable {
  return {
    [__HYPERVISOR_set_callbacks]: {
      name: 'HYPERVISOR_set_callbacks',
      arguments: ['event_selector', 'event_address', 'failsafe_selector', 'failsafe_address'],
      status: 'done',
      run(call) {
        const v = domain().of(call.vcpu);
        for (const [i, type] of [CALLBACKTYPE_event, CALLBACKTYPE_failsafe].entries()) {
          const selector = call.uint(2 * i) & 0xffff;
          registerCallback(v, { type, flags: 0, selector, address: call.argument(2 * i + 1) });
        }
        return 0;
      },
    },
    [__HYPERVISOR_update_descriptor]: {
      name: 'HYPERVISOR_update_descriptor',
      arguments: ['ma_lo', 'ma_hi', 'desc_lo', 'desc_hi'],
      status: 'done',
      run: call => updateDescriptor(domain(), (call.argument(1) << 32n) | call.argument(0), call.uint(2), call.uint(3)),
    },
    // FS and GS have descriptors here.
    [__HYPERVISOR_set_segment_base]: {
      name: 'HYPERVISOR_set_segment_base',
      arguments: ['reg', 'value'],
      status: 'done',
      note: '64-bit guests only: -ENOSYS',
      run: () => -ENOSYS,
    },
  };
}
