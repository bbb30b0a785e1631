/**
 * Hypercalls of the toolstack and of domain 0 (public/sysctl.h, domctl.h, platform.h and others). An ordinary domain may
 * do nothing by them. What it is told depends on what Xen looks at before it looks who asks.
 */
import {
  __HYPERVISOR_dm_op,
  __HYPERVISOR_domctl,
  __HYPERVISOR_hvm_op,
  __HYPERVISOR_hypfs_op,
  __HYPERVISOR_kexec_op,
  __HYPERVISOR_mca,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_paging_domctl_cont,
  __HYPERVISOR_platform_op,
  __HYPERVISOR_sysctl,
  __HYPERVISOR_xenpmu_op,
  DOMID_FIRST_RESERVED,
  DOMID_INVALID,
  DOMID_IO,
  DOMID_SELF,
  DOMID_XEN,
  E2BIG,
  EACCES,
  EFAULT,
  EINVAL,
  ENODATA,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
} from '../constants.ts';
import { type Call, type HypercallEntry, type HypercallTable, type Operations, operate } from '../hypercall.ts';
import { structure } from '../structures.ts';

const XEN_DOMCTL_INTERFACE_VERSION = 0x15;
const XEN_SYSCTL_INTERFACE_VERSION = 0x15;
const XENPF_INTERFACE_VERSION = 0x03000001;

/** Bytes of struct xen_domctl {cmd, interface_version, domain, padding, a union of 128 bytes}. */
const DOMCTL_SIZE = 144;
/** Bytes of struct xen_sysctl and xen_platform_op {cmd, interface_version, a union of 128 bytes}. */
const SYSCTL_SIZE = 136;

const XEN_DOMCTL_createdomain = 1;
const XEN_DOMCTL_getdomaininfo = 5;
const XEN_DOMCTL_shadow_op = 10;
const XEN_DOMCTL_assign_device = 37;
const XEN_DOMCTL_deassign_device = 39;
const XEN_DOMCTL_test_assign_device = 45;
const XEN_DOMCTL_vm_event_op = 56;

/** Buffers that one dm_op may name, and bytes of the structure that names one. */
const MAX_DM_OP_BUFFERS = 2;
const DM_OP_BUFFER_SIZE = 16;

/** A structure that begins with a command and the version of the interface. */
function header(call: Call, size: number): { command: number; version: number; domid: number } | undefined {
  const bytes = call.read(call.argument(0), size);
  if (!bytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return { command: view.getUint32(0, true), version: view.getUint32(4, true), domid: view.getUint16(8, true) };
}

/** True for a domain's own id: DOMID_SELF is none. */
function isThere({ domain }: Call, domid: number): boolean {
  return domid === 0 || domid === domain.id;
}

function domctl(call: Call): number {
  const op = header(call, DOMCTL_SIZE);
  if (!op) return -EFAULT;
  const { command, version, domid } = op;
  if (version !== XEN_DOMCTL_INTERFACE_VERSION) return -EACCES;
  switch (command) {
    case XEN_DOMCTL_createdomain:
      return -EPERM;
    case XEN_DOMCTL_assign_device:
    case XEN_DOMCTL_deassign_device:
      return domid === DOMID_IO || isThere(call, domid) ? -EPERM : -ESRCH;
    case XEN_DOMCTL_test_assign_device:
    case XEN_DOMCTL_vm_event_op:
      return domid === DOMID_INVALID || isThere(call, domid) ? -EPERM : -ESRCH;
    case XEN_DOMCTL_getdomaininfo:
      // It is about the next domain that is there, and there is none after this one.
      if (domid >= DOMID_FIRST_RESERVED) return -EINVAL;
      return domid <= call.domain.id ? -EPERM : -ESRCH;
    default:
      return isThere(call, domid) ? -EPERM : -ESRCH;
  }
}

function pagingDomctl(call: Call): number {
  const op = header(call, DOMCTL_SIZE);
  if (!op) return -EFAULT;
  if (op.version !== XEN_DOMCTL_INTERFACE_VERSION || op.command !== XEN_DOMCTL_shadow_op) return -EOPNOTSUPP;
  return isThere(call, op.domid) ? -EPERM : -ESRCH;
}

/** A call whose structure is looked at before its caller. */
const afterVersion =
  (size: number, version: number) =>
  (call: Call): number => {
    const op = header(call, size);
    if (!op) return -EFAULT;
    return op.version === version ? -EPERM : -EACCES;
  };

/** HYPERVISOR_dm_op, of device models. */
function dmOp(call: Call): number {
  const count = call.uint(1);
  if (count === 0) return -ENODATA;
  if (count > MAX_DM_OP_BUFFERS) return -E2BIG;
  if (!call.read(call.argument(2), count * DM_OP_BUFFER_SIZE)) return -EFAULT;
  const domid = call.uint(0) & 0xffff;
  if (!isThere(call, domid)) return -ESRCH;
  // A domain is no device model of its own, and domain 0 has none.
  return domid === call.domain.id ? -EPERM : -EINVAL;
}

const refusal = (name: string, names: readonly string[], run: (call: Call) => number): HypercallEntry => ({
  name,
  arguments: names,
  status: 'done',
  note: 'not for an ordinary domain',
  run,
});

/** Those that both kinds of guest have. */
export const privileged: HypercallTable = {
  [__HYPERVISOR_platform_op]: refusal(
    'HYPERVISOR_platform_op',
    ['op'],
    afterVersion(SYSCTL_SIZE, XENPF_INTERFACE_VERSION),
  ),
  [__HYPERVISOR_sysctl]: refusal('HYPERVISOR_sysctl', ['op'], afterVersion(SYSCTL_SIZE, XEN_SYSCTL_INTERFACE_VERSION)),
  [__HYPERVISOR_domctl]: refusal('HYPERVISOR_domctl', ['op'], domctl),
  [__HYPERVISOR_paging_domctl_cont]: refusal('HYPERVISOR_paging_domctl_cont', ['op'], pagingDomctl),
  [__HYPERVISOR_dm_op]: refusal('HYPERVISOR_dm_op', ['domid', 'nr_bufs', 'bufs'], dmOp),
  [__HYPERVISOR_hypfs_op]: refusal('HYPERVISOR_hypfs_op', ['cmd', 'arg1', 'arg2', 'arg3', 'arg4'], () => -EPERM),
  [__HYPERVISOR_xenpmu_op]: {
    name: 'HYPERVISOR_xenpmu_op',
    arguments: ['op', 'arg'],
    status: 'done',
    note: 'switched off, as by default: -EOPNOTSUPP',
    run: () => -EOPNOTSUPP,
  },
};

const HVMOP_set_param = 0;
const HVMOP_get_param = 1;
const HVMOP_flush_tlbs = 5;
const HVMOP_get_time = 10;
const HVMOP_set_evtchn_upcall_vector = 23;
const HVM_NR_PARAMS = 39;
const xen_hvm_param = structure({ domid: 'u16', index: 'u32', value: 'u64' });

/** HYPERVISOR_hvm_op of a PV guest: neither it nor domain 0 is an HVM domain. */
const hvmOperations: Operations = {
  [HVMOP_set_param]: hvmParameter,
  [HVMOP_get_param]: hvmParameter,
  [HVMOP_flush_tlbs]: () => -EINVAL,
  [HVMOP_get_time](call, argument) {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(Math.floor(call.vcpu.time.now)), true);
    return call.write(argument, bytes) ? 0 : -EFAULT;
  },
  [HVMOP_set_evtchn_upcall_vector]: () => -EINVAL,
};

function hvmParameter(call: Call, argument: bigint): number {
  const op = call.load(argument, xen_hvm_param);
  if (!op) return -EFAULT;
  return op.index >= HVM_NR_PARAMS || call.domain.exists(op.domid) ? -EINVAL : -ESRCH;
}

/** HYPERVISOR_mmuext_op of an HVM guest: of a PV domain's frames alone, and it is none. */
function mmuextOp(call: Call): number {
  const owner = call.uint(3) & 0xffff;
  if (owner === DOMID_SELF) return -EINVAL;
  return owner === 0 || owner === DOMID_IO || owner === DOMID_XEN ? -EPERM : -ESRCH;
}

/** Those that HVM guests have beside these. */
export const privilegedHvm: HypercallTable = {
  [__HYPERVISOR_mmuext_op]: refusal('HYPERVISOR_mmuext_op', ['uops', 'count', 'pdone', 'foreigndom'], mmuextOp),
};

/** Those that PV guests have beside these. */
export const privilegedPv: HypercallTable = {
  [__HYPERVISOR_hvm_op]: {
    name: 'HYPERVISOR_hvm_op',
    arguments: ['cmd', 'arg'],
    status: 'partly',
    note: 'for HVM guests: HVMOP_get_time works, the others are refused or answer -ENOSYS',
    run: call => operate('hvm_op', hvmOperations, call),
  },
  [__HYPERVISOR_kexec_op]: refusal('HYPERVISOR_kexec_op', ['op', 'arg'], () => -EPERM),
  [__HYPERVISOR_mca]: refusal('HYPERVISOR_mca', ['op'], () => -EPERM),
};
