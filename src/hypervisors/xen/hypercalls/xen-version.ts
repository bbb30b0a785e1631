/** HYPERVISOR_xen_version (public/version.h): the version that the guest is told, which is Debian 12's Xen 4.17. */
import { PAGE_SIZE } from '../../../x86/paging.ts';
import {
  __HYPERVISOR_xen_version,
  EFAULT,
  EINVAL,
  ENOSYS,
  EPERM,
  XEN_EXTRAVERSION,
  XEN_MAJOR,
  XEN_MINOR,
} from '../constants.ts';
import type { Call, HypercallTable, Operation, Operations } from '../hypercall.ts';
import { structure } from '../structures.ts';

const XENVER_version = 0;
const XENVER_extraversion = 1;
const XENVER_compile_info = 2;
const XENVER_capabilities = 3;
const XENVER_changeset = 4;
const XENVER_platform_parameters = 5;
const XENVER_get_features = 6;
const XENVER_pagesize = 7;
const XENVER_guest_handle = 8;
const XENVER_commandline = 9;
const XENVER_build_id = 10;

const xen_feature_info = structure({ submap_idx: 'u32', submap: 'u32' });
const xen_platform_parameters = structure({ virt_start: 'ulong' });

/** Where Xen's own range begins in a 64-bit PV guest, and in a 32-bit one. */
const HYPERVISOR_VIRT_START = { 64: 0xffff800000000000n, 32: 0xf5800000n };

/** The domain's UUID (xen_domain_handle_t). There is one domain, so it is always the same. */
export const DOMAIN_UUID = '8e3a1f60-5c0e-4b7d-9a55-706f6c797669';

/** Copies `text` out as the fixed-size, NUL-padded field it is in the header. */
const text =
  (value: string, size: number): Operation =>
  (call, argument) => {
    const field = new Uint8Array(size);
    field.set(new TextEncoder().encode(value).subarray(0, size - 1));
    return call.write(argument, field) ? 0 : -EFAULT;
  };

const operations: Operations = {
  // Linux also asks it, with no pointer, to have pending events delivered.
  [XENVER_version]: () => (XEN_MAJOR << 16) | XEN_MINOR,
  [XENVER_extraversion]: text(XEN_EXTRAVERSION, 16),
  // Bytes of each field: compiler 64, by 16, domain 32, date 32.
  [XENVER_compile_info]: (call, argument) => {
    const info = new Uint8Array(144);
    const encoder = new TextEncoder();
    info.set(encoder.encode('typescript'), 0);
    info.set(encoder.encode('polyvisor'), 64);
    info.set(encoder.encode('-'), 80);
    return call.write(argument, info) ? 0 : -EFAULT;
  },
  [XENVER_capabilities]: text('xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ', 1024),
  [XENVER_changeset]: text('', 64),
  [XENVER_platform_parameters]: (call, argument) => {
    const bytes = new Uint8Array(xen_platform_parameters[call.width].size);
    xen_platform_parameters[call.width].encode(bytes, { virt_start: HYPERVISOR_VIRT_START[call.width] });
    return call.write(argument, bytes) ? 0 : -EFAULT;
  },
  [XENVER_get_features]: (call, argument) => {
    const info = call.load(argument, xen_feature_info);
    if (!info) return -EFAULT;
    if (info.submap_idx !== 0) return -EINVAL;
    return call.store(argument, xen_feature_info, { submap: call.domain.kind.features(call.domain) });
  },
  // Only without a pointer, as in Xen.
  [XENVER_pagesize]: (_, argument) => (argument === 0n ? PAGE_SIZE : -EINVAL),
  [XENVER_guest_handle]: (call, argument) => {
    const digits = DOMAIN_UUID.replaceAll('-', '');
    const uuid = Uint8Array.from({ length: 16 }, (_, index) =>
      Number.parseInt(digits.slice(index * 2, index * 2 + 2), 16),
    );
    return call.write(argument, uuid) ? 0 : -EFAULT;
  },
  // Not for an ordinary domain, nor is the next.
  [XENVER_commandline]: text('<denied>', 1024),
  [XENVER_build_id]: () => -EPERM,
};

export const xen_version: HypercallTable = {
  [__HYPERVISOR_xen_version]: {
    name: 'HYPERVISOR_xen_version',
    arguments: ['cmd', 'arg'],
    status: 'done',
    run: (call: Call) => operations[call.uint(0)]?.(call, call.argument(1)) ?? -ENOSYS,
  },
};
