/**
 * HYPERVISOR_hvm_op (public/hvm/hvm_op.h, params.h): how a guest with hardware's look finds its rings and gets its
 * events.
 */
import { __HYPERVISOR_hvm_op, EFAULT, EINVAL, ENOENT, EOPNOTSUPP, EPERM, ESRCH } from '../xen/constants.ts';
import { type Call, type HypercallTable, type Operation, type Operations, operate } from '../xen/hypercall.ts';
import { structure } from '../xen/structures.ts';
import type { PvhDomain } from './pvh-domain.ts';

const HVMOP_set_param = 0;
const HVMOP_get_param = 1;
const HVMOP_flush_tlbs = 5;
const HVMOP_pagetable_dying = 9;
const HVMOP_get_time = 10;
const HVMOP_set_evtchn_upcall_vector = 23;
const HVMOP_guest_request_vm_event = 24;

const xen_hvm_param = structure({ domid: 'u16', index: 'u32', value: 'u64' });
const xen_hvm_pagetable_dying = structure({ domid: 'u16', pad0: 'u16', pad1: 'u32', gpa: 'u64' });
const xen_hvm_evtchn_upcall_vector = structure({ vcpu: 'u32', vector: 'u8' });

export const HVM_PARAM_CALLBACK_IRQ = 0;
export const HVM_PARAM_STORE_PFN = 1;
export const HVM_PARAM_STORE_EVTCHN = 2;
export const HVM_PARAM_CONSOLE_PFN = 17;
export const HVM_PARAM_CONSOLE_EVTCHN = 18;
const HVM_PARAM_VM86_TSS = 15;
const HVM_PARAM_ACPI_IOPORTS_LOCATION = 19;
const HVM_PARAM_VM_GENERATION_ID_ADDR = 34;
const HVM_PARAM_ALTP2M = 35;
const HVM_PARAM_X87_FIP_WIDTH = 36;
const HVM_PARAM_VM86_TSS_SIZED = 37;
const HVM_NR_PARAMS = 39;

/** The top byte of HVM_PARAM_CALLBACK_IRQ: how events are to arrive. */
const HVM_PARAM_CALLBACK_TYPE_VECTOR = 2n;
/** Vectors below this are exceptions'. */
const FIRST_VECTOR = 16;

/** Parameters that a guest may set, or read; the others are the toolstack's. */
const SETTABLE = new Set([
  HVM_PARAM_CALLBACK_IRQ,
  HVM_PARAM_STORE_EVTCHN,
  HVM_PARAM_VM86_TSS,
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_ACPI_IOPORTS_LOCATION,
  HVM_PARAM_VM_GENERATION_ID_ADDR,
  HVM_PARAM_X87_FIP_WIDTH,
  HVM_PARAM_VM86_TSS_SIZED,
]);
const READABLE = new Set([...SETTABLE, HVM_PARAM_STORE_PFN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_ALTP2M]);
/** Those that Xen knew once: PAE_ENABLED, DM_DOMAIN, MEMORY_EVENT_*, NESTEDHVM, BUFIOREQ_EVTCHN. */
const DEPRECATED = new Set([4, 13, 20, 21, 22, 23, 24, 25, 26, 30]);

export function hvm_op(domain: () => PvhDomain): HypercallTable {
  const parameter =
    (run: (pvh: PvhDomain, call: Call, index: number, value: bigint, argument: bigint) => number): Operation =>
    (call, argument) => {
      const op = call.load(argument, xen_hvm_param);
      if (!op) return -EFAULT;
      if (op.index >= HVM_NR_PARAMS) return -EINVAL;
      // Domain 0 is no HVM domain.
      if (!call.domain.isSelf(op.domid)) return call.domain.exists(op.domid) ? -EINVAL : -ESRCH;
      if (DEPRECATED.has(op.index)) return -EINVAL;
      return run(domain(), call, op.index, op.value, argument);
    };

  const operations: Operations = {
    [HVMOP_set_param]: parameter((pvh, call, index, value) => {
      if (!SETTABLE.has(index)) return -EPERM;
      if (index === HVM_PARAM_X87_FIP_WIDTH && value !== 0n && value !== 4n && value !== 8n) return -EINVAL;
      pvh.state.parameters.set(index, value);
      if (index !== HVM_PARAM_CALLBACK_IRQ) return 0;
      pvh.state.callbackVector = value >> 56n === HVM_PARAM_CALLBACK_TYPE_VECTOR ? Number(value & 0xffn) : 0;
      pvh.latchWidth(call.vcpu.cpu);
      for (const { cpu } of call.domain.vcpus) cpu.attention();
      return 0;
    }),
    [HVMOP_get_param]: parameter((pvh, call, index, _, argument) =>
      READABLE.has(index)
        ? call.store(argument, xen_hvm_param, { value: pvh.state.parameters.get(index) ?? 0n })
        : -EPERM,
    ),
    // All translations, of all processors.
    [HVMOP_flush_tlbs]: (call, argument) => {
      if (argument !== 0n) return -EINVAL;
      for (const { cpu } of call.domain.vcpus) cpu.flush(true);
      return 0;
    },
    // Of use only to shadow page tables, which this domain does not have.
    [HVMOP_pagetable_dying]: (call, argument) => {
      const op = call.load(argument, xen_hvm_pagetable_dying);
      if (!op) return -EFAULT;
      if (call.domain.isSelf(op.domid)) return -EINVAL;
      return call.domain.exists(op.domid) ? -EOPNOTSUPP : -ESRCH;
    },
    [HVMOP_get_time]: (call, argument) => {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, BigInt(Math.floor(call.vcpu.time.now)), true);
      return call.write(argument, bytes) ? 0 : -EFAULT;
    },
    [HVMOP_guest_request_vm_event]: (_, argument) => (argument === 0n ? 0 : -EINVAL),
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
