/**
 * HYPERVISOR_vm_assist: switches for help that the hypervisor offers. The code that gives the help asks `assists`.
 */
import {
  __HYPERVISOR_vm_assist,
  EINVAL,
  ENOSYS,
  VMASST_TYPE_4gb_segments,
  VMASST_TYPE_architectural_iopl,
  VMASST_TYPE_m2p_strict,
  VMASST_TYPE_pae_extended_cr3,
  VMASST_TYPE_runstate_update_flag,
  VMASST_TYPE_writable_pagetables,
} from '../constants.ts';
import type { HypercallTable } from '../hypercall.ts';

const VMASST_CMD_enable = 0;
const VMASST_CMD_disable = 1;

const types = new Set([
  VMASST_TYPE_4gb_segments,
  VMASST_TYPE_writable_pagetables,
  VMASST_TYPE_pae_extended_cr3,
  VMASST_TYPE_architectural_iopl,
  VMASST_TYPE_runstate_update_flag,
  VMASST_TYPE_m2p_strict,
]);

export const vm_assist: HypercallTable = {
  [__HYPERVISOR_vm_assist]: {
    name: 'HYPERVISOR_vm_assist',
    arguments: ['cmd', 'type'],
    status: 'done',
    run(call) {
      const type = call.uint(1);
      if (!types.has(type)) return -EINVAL;
      if (call.uint(0) === VMASST_CMD_enable) call.domain.state.assists.add(type);
      else if (call.uint(0) === VMASST_CMD_disable) call.domain.state.assists.delete(type);
      else return -ENOSYS;
      return 0;
    },
  },
};
