/** The hypercalls by which a PV guest sets up its processor: traps, callbacks, segments, debug registers, and iret. */
import { CR0_TS } from '../../x86/control.ts';
import { PF } from '../../x86/vectors.ts';
import { REPLACED } from '../xen/call-frame.ts';
import {
  __HYPERVISOR_callback_op,
  __HYPERVISOR_fpu_taskswitch,
  __HYPERVISOR_get_debugreg,
  __HYPERVISOR_iret,
  __HYPERVISOR_nmi_op,
  __HYPERVISOR_set_callbacks,
  __HYPERVISOR_set_debugreg,
  __HYPERVISOR_set_gdt,
  __HYPERVISOR_set_segment_base,
  __HYPERVISOR_set_trap_table,
  __HYPERVISOR_stack_switch,
  __HYPERVISOR_update_descriptor,
  EFAULT,
  EINVAL,
  ENOSYS,
} from '../xen/constants.ts';
import type { Vcpu } from '../xen/domain.ts';
import type { Call, HypercallTable } from '../xen/hypercall.ts';
import { structure } from '../xen/structures.ts';
import type { CallbackRegistration } from './abi.ts';
import { publishHandlers } from './cells.ts';
import { getDebugRegister, setDebugRegister } from './debug-registers.ts';
import { loadSegment, setGdtCall, updateDescriptor } from './descriptors.ts';
import { isCanonical } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import { type Callback, emptyTrapTable, type PvVcpu } from './pv-vcpu.ts';

const TS = BigInt(CR0_TS);

const trap_info = structure({ vector: 'u8', flags: 'u8', cs: 'u16', address: 'ulong' });
/** Entries of a trap table at most: one for each vector, and the end. */
const MAX_TRAPS = 257;

const xennmi_callback = structure({ handler_address: 'ulong', pad: 'ulong' });
const callback_unregister = structure({ type: 'u16', _unused: 'u16' });
const CALLBACKOP_register = 0;
const CALLBACKOP_unregister = 1;
export const CALLBACKTYPE_event = 0;
export const CALLBACKTYPE_failsafe = 1;
const CALLBACKTYPE_syscall = 2;
const CALLBACKTYPE_nmi = 4;
const CALLBACKTYPE_sysenter = 5;
const CALLBACKTYPE_syscall32 = 7;
const CALLBACKF_mask_events = 1;

const XENNMI_register_callback = 0;
const XENNMI_unregister_callback = 1;

export const SEGBASE_FS = 0;
export const SEGBASE_GS_USER = 1;
export const SEGBASE_GS_KERNEL = 2;
export const SEGBASE_GS_USER_SEL = 3;

/** HYPERVISOR_set_trap_table: an array that ends at address 0; a null pointer forgets all. */
function setTrapTable(pv: PvDomain, v: PvVcpu, list: bigint): number {
  if (list === 0n) {
    v.state.traps = emptyTrapTable();
    publishHandlers(v);
    return 0;
  }
  const layout = trap_info[pv.abi.width];
  const bytes = new Uint8Array(layout.size);
  for (let i = 0; i < MAX_TRAPS; i++) {
    if (!pv.copy.read(v.kernelRoot, list + BigInt(i * layout.size), bytes)) return -EFAULT;
    const { vector, flags, cs, address } = layout.decode(bytes);
    if (address === 0n) return 0;
    if (!isCanonical(address)) return -EINVAL;
    v.state.traps.address[vector] = address;
    v.state.traps.selector[vector] = v.guestSelector(cs);
    v.state.traps.flags[vector] = flags;
    if (vector === PF) publishHandlers(v);
  }
  return 0;
}

/** The registration that a CALLBACKTYPE_* means. */
function callbackOf(v: PvVcpu, type: number): Callback | undefined {
  switch (type) {
    case CALLBACKTYPE_event:
      return v.state.event;
    case CALLBACKTYPE_failsafe:
      return v.state.failsafe;
    case CALLBACKTYPE_syscall:
      // Programs of a 32-bit kernel have no 64-bit code.
      return v.abi.kernelRing === 3 ? v.state.syscall64 : undefined;
    case CALLBACKTYPE_nmi:
      return v.state.nmi;
    case CALLBACKTYPE_sysenter:
      return v.state.sysenter;
    case CALLBACKTYPE_syscall32:
      return v.state.syscall32;
    default:
      return undefined;
  }
}

/** Registers an entry point. 0 or -errno. */
export function registerCallback(v: PvVcpu, { type, flags, selector, address }: CallbackRegistration): number {
  if (!isCanonical(address)) return -EINVAL;
  const callback = callbackOf(v, type);
  if (!callback) return -ENOSYS;
  callback.address = address;
  callback.selector = type === CALLBACKTYPE_nmi ? v.abi.kernelCode.selector : v.guestSelector(selector);
  callback.maskEvents = (flags & CALLBACKF_mask_events) !== 0;
  publishHandlers(v);
  return 0;
}

function callbackOp(v: PvVcpu, call: Call): number {
  switch (call.uint(0)) {
    case CALLBACKOP_register: {
      const op = v.abi.callbackRegistration(call, call.argument(1));
      return op ? registerCallback(v, op) : -EFAULT;
    }
    case CALLBACKOP_unregister: {
      const op = call.load(call.argument(1), callback_unregister);
      if (!op) return -EFAULT;
      if (!callbackOf(v, op.type)) return -ENOSYS;
      if (op.type !== CALLBACKTYPE_nmi) return -EINVAL;
      v.state.nmi.address = 0n;
      return 0;
    }
    default:
      return -ENOSYS;
  }
}

/** HYPERVISOR_set_segment_base. */
function setSegmentBase(pv: PvDomain, v: PvVcpu, which: number, base: bigint): number {
  const { cpu } = v;
  if (which !== SEGBASE_GS_USER_SEL && !isCanonical(base)) return -EINVAL;
  switch (which) {
    case SEGBASE_FS:
      cpu.set('fsBase', base);
      return 0;
    case SEGBASE_GS_USER:
      cpu.set('kernelGsBase', base);
      return 0;
    case SEGBASE_GS_KERNEL:
      cpu.set('gsBase', base);
      return 0;
    case SEGBASE_GS_USER_SEL: {
      const given = Number(base & 0xffffn);
      const selector = given >>> 2 === 0 ? given : given | 3;
      // Loaded as the user's: the selector and the inactive base change, the kernel's base stays.
      const loaded = loadSegment(pv, v, selector, 'data') ?? { selector: 0, base: 0n, limit: 0, attributes: 0 };
      const kernelBase = cpu.get('gsBase');
      cpu.setSegment('gs', loaded);
      cpu.set('gsBase', kernelBase);
      cpu.set('kernelGsBase', loaded.base);
      return 0;
    }
    default:
      return -EINVAL;
  }
}

export function cpuHypercalls(domain: () => PvDomain): HypercallTable {
  /** The caller, as the PV domain knows it. */
  const caller = (vcpu: Vcpu) => domain().of(vcpu);
  return {
    [__HYPERVISOR_set_trap_table]: {
      name: 'HYPERVISOR_set_trap_table',
      arguments: ['traps'],
      status: 'done',
      run: call => setTrapTable(domain(), caller(call.vcpu), call.argument(0)),
    },
    [__HYPERVISOR_set_gdt]: {
      name: 'HYPERVISOR_set_gdt',
      arguments: ['frame_list', 'entries'],
      status: 'done',
      run: call => setGdtCall(domain(), caller(call.vcpu), call.argument(0), call.uint(1)),
    },
    [__HYPERVISOR_stack_switch]: {
      name: 'HYPERVISOR_stack_switch',
      arguments: ['ss', 'esp'],
      status: 'done',
      fast(vcpu, frame) {
        const v = caller(vcpu);
        v.kernelSs = v.guestSelector(frame.words[0] & 0xffff);
        v.kernelSp = frame.longs[1];
        return frame.finish(0);
      },
    },
    [__HYPERVISOR_set_callbacks]: {
      name: 'HYPERVISOR_set_callbacks',
      arguments: ['event_address', 'failsafe_address', 'syscall_address'],
      status: 'done',
      run(call) {
        const v = caller(call.vcpu);
        for (let type = 0; type < 3; type++) {
          const error = registerCallback(v, { type, flags: 0, selector: 0, address: call.argument(type) });
          if (error !== 0) return error;
        }
        return 0;
      },
    },
    [__HYPERVISOR_fpu_taskswitch]: {
      name: 'HYPERVISOR_fpu_taskswitch',
      arguments: ['set'],
      status: 'done',
      fast({ cpu }, frame) {
        const cr0 = cpu.get('cr0');
        cpu.set('cr0', frame.words[0] !== 0 ? cr0 | TS : cr0 & ~TS);
        return frame.finish(0);
      },
    },
    [__HYPERVISOR_set_debugreg]: {
      name: 'HYPERVISOR_set_debugreg',
      arguments: ['reg', 'value'],
      status: 'done',
      run: call => setDebugRegister(caller(call.vcpu), call.int(0), call.argument(1)),
    },
    [__HYPERVISOR_get_debugreg]: {
      name: 'HYPERVISOR_get_debugreg',
      arguments: ['reg'],
      status: 'done',
      fast(vcpu, frame) {
        const value = getDebugRegister(caller(vcpu), frame.words[0] | 0);
        return value === undefined ? frame.finish(-EINVAL) : frame.finish64(value);
      },
    },
    [__HYPERVISOR_update_descriptor]: {
      name: 'HYPERVISOR_update_descriptor',
      arguments: ['ma', 'desc'],
      status: 'done',
      run(call) {
        const value = call.argument(1);
        return updateDescriptor(domain(), call.argument(0), Number(value & 0xffffffffn), Number(value >> 32n));
      },
    },
    [__HYPERVISOR_iret]: {
      name: 'HYPERVISOR_iret',
      arguments: [],
      status: 'done',
      fast(vcpu) {
        const pv = domain();
        pv.abi.iret(pv, pv.of(vcpu));
        return REPLACED;
      },
    },
    [__HYPERVISOR_set_segment_base]: {
      name: 'HYPERVISOR_set_segment_base',
      arguments: ['reg', 'value'],
      status: 'done',
      fast: (vcpu, frame) => frame.finish(setSegmentBase(domain(), caller(vcpu), frame.words[0], frame.longs[1])),
    },
    [__HYPERVISOR_nmi_op]: {
      name: 'HYPERVISOR_nmi_op',
      arguments: ['cmd', 'arg'],
      status: 'done',
      run(call) {
        const v = caller(call.vcpu);
        if (call.uint(0) === XENNMI_unregister_callback) {
          v.state.nmi.address = 0n;
          return 0;
        }
        if (call.uint(0) !== XENNMI_register_callback) return -ENOSYS;
        const op = call.load(call.argument(1), xennmi_callback);
        if (!op) return -EFAULT;
        const address = op.handler_address;
        return registerCallback(v, { type: CALLBACKTYPE_nmi, flags: CALLBACKF_mask_events, selector: 0, address });
      },
    },
    [__HYPERVISOR_callback_op]: {
      name: 'HYPERVISOR_callback_op',
      arguments: ['cmd', 'arg'],
      status: 'done',
      run: call => callbackOp(caller(call.vcpu), call),
    },
  };
}
