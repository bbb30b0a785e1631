/**
 * 32-bit PV guests with PAE (public/arch-x86/xen-x86_32.h), as a 64-bit Xen has them: in compatibility mode. The kernel
 * runs in ring 1 and its programs in ring 3, both on the same page tables; it makes hypercalls by INT 82h. Xen's part of
 * the address space begins at 0xf5800000, where the guest reads the machine-to-physical table.
 */
import type { Segment } from '../../paravirt/processor.ts';
import { DESCRIPTOR_G, DESCRIPTOR_L } from '../../x86/descriptors.ts';
import * as vectors from '../../x86/vectors.ts';
import { __HYPERVISOR_iret } from '../xen/constants.ts';
import { structure } from '../xen/structures.ts';
import type { PvAbi } from './abi.ts';
import { bounce32, iret32 } from './frames32.ts';
import { hypercallSlots } from './hypercall-page.ts';
import { hypercalls32 } from './hypercalls32.ts';
import { PGT_pae_xen_l2 } from './page-info.ts';

export const FLAT_RING1_CS = 0xe019;
export const FLAT_RING1_DS = 0xe021;
export const FLAT_RING3_CS = 0xe02b;
export const FLAT_RING3_DS = 0xe033;

/** HYPERCALL_VECTOR: its gate is open to ring 1. */
const HYPERCALL_VECTOR = 0x82;

/** HYPERVISOR_VIRT_START_PAE, and the end of what a 64-bit Xen maps of the machine-to-physical table (4 bytes a frame). */
const XEN_AREA_START = 0xf5800000;
const M2P_END = 0xffe00000;
/** Of the last level 2 table, whose entries are of 2 MiB: from where Xen's area begins. */
const FIRST_XEN_SLOT = (XEN_AREA_START >>> 21) & 511;
const LAST_XEN_SLOT = 511;

const kernelCode: Segment = { selector: FLAT_RING1_CS, base: 0n, limit: 0xffffffff, attributes: 0x00c0bb00 };
const kernelStack: Segment = { selector: FLAT_RING1_DS, base: 0n, limit: 0xffffffff, attributes: 0x00c0b300 };

/** struct callback_register with its struct xen_callback. */
const callback_register = structure({ type: 'u16', flags: 'u16', cs: 'ulong', eip: 'ulong' });

export const abi32: PvAbi = {
  width: 32,
  long: 4,
  levels: 3,
  kernelRing: 1,
  magic: 'xen-3.0-x86_32p',
  // Present, accessed already, 4 GiB.
  descriptors: [
    [FLAT_RING1_CS, 0x00cfbb000000ffffn],
    [FLAT_RING1_DS, 0x00cfb3000000ffffn],
    [FLAT_RING3_CS, 0x00cffb000000ffffn],
    [FLAT_RING3_DS, 0x00cff3000000ffffn],
  ],
  kernelCode,
  kernelStack,
  segments: {
    cs: kernelCode,
    ss: kernelStack,
    ds: kernelStack,
    es: kernelStack,
    fs: kernelStack,
    gs: kernelStack,
  },
  m2p: { start: BigInt(XEN_AREA_START), end: BigInt(M2P_END), maxFrame: BigInt((M2P_END - XEN_AREA_START) / 4 - 1) },
  xenSlots: { type: PGT_pae_xen_l2, first: FIRST_XEN_SLOT, last: LAST_XEN_SLOT },
  mmuextSize: 12,
  hypercallVector: HYPERCALL_VECTOR,
  passesGates: true,
  segmentBases: false,

  isGuestAddress: linear => linear < BigInt(XEN_AREA_START),
  isGuestAddressOfHalves: (low, high) => high === 0 && low < XEN_AREA_START,
  checkSegment,
  isRegistered: selector => selector >>> 2 !== 0,
  // The frame's upper bits stand in the lower ones (xen_pfn_to_cr3), where PAE has none of the address.
  cr3Of: root => BigInt(((root << 12) | (root >>> 20)) >>> 0),
  rootOf(cr3) {
    const value = Number(BigInt.asUintN(32, cr3));
    return ((value >>> 12) | (value << 20)) >>> 0;
  },

  // mov eax, number; int 82h; ret; for iret first push eax, and no way back
  hypercallPage: () =>
    hypercallSlots(number =>
      number === __HYPERVISOR_iret
        ? [0x50, 0xb8, number, 0, 0, 0, 0xcd, HYPERCALL_VECTOR]
        : [0xb8, number, 0, 0, 0, 0xcd, HYPERCALL_VECTOR, 0xc3],
    ),

  bounce: bounce32,
  iret: iret32,
  systemCall: v => ({
    callback: v.state.syscall32,
    code: FLAT_RING3_CS,
    stack: FLAT_RING3_DS,
    clear: 0n,
    refusal: { vector: vectors.GP, code: 0 },
  }),
  callbackRegistration(call, pointer) {
    const op = call.load(pointer, callback_register);
    return op && { type: op.type, flags: op.flags, selector: Number(op.cs & 0xffffn), address: op.eip };
  },
  hypercalls: hypercalls32,
};

/**
 * No 64-bit code. Segments that end where older guests saw the machine-to-physical table end are extended to all of it:
 * Xen's own memory is out of a 32-bit guest's reach anyway, above 4 GiB.
 */
function checkSegment(descriptor: { low: number; high: number }): boolean {
  const { low, high } = descriptor;
  if (high & DESCRIPTOR_L) return false;
  const base = ((high & 0xff000000) | ((high & 0xff) << 16) | (low >>> 16)) >>> 0;
  const units = ((high & 0xf0000) | (low & 0xffff)) + 1;
  const size = high & DESCRIPTOR_G ? units * 4096 : units;
  if (base === 0 && size > XEN_AREA_START) {
    descriptor.low = (low | 0xffff) >>> 0;
    descriptor.high = (high | 0xf0000) >>> 0;
  }
  return true;
}
