/**
 * HYPERVISOR_hvm_op (public/hvm/hvm_op.h, params.h): how a guest with hardware's look finds its rings and gets its
 * events.
 */
import { __HYPERVISOR_hvm_op, EFAULT, EINVAL, ENOENT, ENOSYS, EPERM, ESRCH } from '../xen/constants.ts';
import { type Call, type HypercallTable, type Operation, type Operations, operate } from '../xen/hypercall.ts';
import { structure } from '../xen/structures.ts';
import type { PvhDomain } from './pvh-domain.ts';

const HVMOP_set_param = 0;
const HVMOP_get_param = 1;
const HVMOP_pagetable_dying = 9;
const HVMOP_set_evtchn_upcall_vector = 23;

const xen_hvm_param = structure({ domid: 'u16', index: 'u32', value: 'u64' });
const xen_hvm_evtchn_upcall_vector = structure({ vcpu: 'u32', vector: 'u8' });

export const HVM_PARAM_CALLBACK_IRQ = 0;
export const HVM_PARAM_STORE_PFN = 1;
export const HVM_PARAM_STORE_EVTCHN = 2;
export const HVM_PARAM_CONSOLE_PFN = 17;
export const HVM_PARAM_CONSOLE_EVTCHN = 18;
const HVM_NR_PARAMS = 39;

/** The top byte of HVM_PARAM_CALLBACK_IRQ: how events are to arrive. */
const HVM_PARAM_CALLBACK_TYPE_VECTOR = 2n;
/** Vectors below this are exceptions'. */
const FIRST_VECTOR = 16;

/** Parameters a guest may set itself; the others are the toolstack's. */
const SETTABLE = new Set([HVM_PARAM_CALLBACK_IRQ]);

export function hvm_op(domain: () => PvhDomain): HypercallTable {
  const parameter =
    (run: (pvh: PvhDomain, call: Call, index: number, value: bigint, argument: bigint) => number): Operation =>
    (call, argument) => {
      const op = call.load(argument, xen_hvm_param);
      if (!op) return -EFAULT;
      if (op.index >= HVM_NR_PARAMS) return -EINVAL;
      if (!call.domain.isSelf(op.domid)) return op.domid === 0 ? -EPERM : -ESRCH;
      return run(domain(), call, op.index, op.value, argument);
    };

  const operations: Operations = {
    [HVMOP_set_param]: parameter((pvh, call, index, value) => {
      if (!SETTABLE.has(index)) return -EPERM;
      pvh.state.parameters.set(index, value);
      pvh.state.callbackVector = value >> 56n === HVM_PARAM_CALLBACK_TYPE_VECTOR ? Number(value & 0xffn) : 0;
      pvh.latchWidth(call.vcpu.cpu);
      call.vcpu.cpu.attention();
      return 0;
    }),
    [HVMOP_get_param]: parameter((pvh, call, index, _, argument) =>
      call.store(argument, xen_hvm_param, { value: pvh.state.parameters.get(index) ?? 0n }),
    ),
    // Of use only to shadow page tables.
    [HVMOP_pagetable_dying]: () => -ENOSYS,
    [HVMOP_set_evtchn_upcall_vector]: (call, argument) => {
      const op = call.load(argument, xen_hvm_evtchn_upcall_vector);
      if (!op) return -EFAULT;
      if (op.vector < FIRST_VECTOR) return -EINVAL;
      const vcpu = call.domain.vcpus[op.vcpu];
      if (!vcpu) return -ENOENT;
      domain().state.upcallVectors.set(vcpu.id, op.vector);
      // What has become pending before there was a way to tell.
      if (vcpu.upcallPending) vcpu.cpu.interrupts?.request(op.vector);
      return 0;
    },
  };

  return {
    [__HYPERVISOR_hvm_op]: {
      name: 'HYPERVISOR_hvm_op',
      arguments: ['cmd', 'arg'],
      status: 'partly',
      note: 'parameters and the upcall vector; events do not arrive through a GSI or a PCI pin',
      run: call => operate('hvm_op', operations, call),
    },
  };
}
