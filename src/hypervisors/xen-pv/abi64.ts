/**
 * 64-bit PV guests (public/arch-x86/xen-x86_64.h): the kernel runs in ring 3 with page tables of its own, makes
 * hypercalls by SYSCALL, and finds Xen in L4 slots 256 to 271.
 */
import type { Segment } from '../../paravirt/processor.ts';
import * as vectors from '../../x86/vectors.ts';
import { __HYPERVISOR_iret } from '../xen/constants.ts';
import { structure } from '../xen/structures.ts';
import type { PvAbi } from './abi.ts';
import { RFLAGS_DF } from './bounce.ts';
import { bounce64, iret64 } from './frames64.ts';
import { hypercallSlots } from './hypercall-page.ts';
import { PGT_l4_page_table } from './page-info.ts';

export const FLAT_RING3_CS32 = 0xe023;
export const FLAT_RING3_SS32 = 0xe02b;
export const FLAT_RING3_CS64 = 0xe033;

/** L4 slots 256 to 271. */
const FIRST_XEN_SLOT = 256;
const LAST_XEN_SLOT = 271;
const XEN_AREA_START = 0xffff800000000000n;
const XEN_AREA_END = 0xffff880000000000n;
const LOWER_HALF_END = 0x0000800000000000n;

const kernelCode: Segment = { selector: FLAT_RING3_CS64, base: 0n, limit: 0xffffffff, attributes: 0x00a0fb00 };
const kernelStack: Segment = { selector: FLAT_RING3_SS32, base: 0n, limit: 0xffffffff, attributes: 0x00c0f300 };
const none: Segment = { selector: 0, base: 0n, limit: 0, attributes: 0 };

const callback_register = structure({ type: 'u16', flags: 'u16', address: 'u64' });

export const abi64: PvAbi = {
  width: 64,
  long: 8,
  levels: 4,
  kernelRing: 3,
  magic: 'xen-3.0-x86_64',
  // Present, DPL 3, accessed already; code with L or D (SDM 3A 3.4.5).
  descriptors: [
    [FLAT_RING3_CS32, 0x00cffb000000ffffn],
    [FLAT_RING3_SS32, 0x00cff3000000ffffn],
    [FLAT_RING3_CS64, 0x00affb000000ffffn],
  ],
  kernelCode,
  kernelStack,
  segments: { cs: kernelCode, ss: kernelStack, ds: none, es: none, fs: none, gs: none },
  // 256 GiB, at RO_MPT_VIRT_START.
  m2p: { start: XEN_AREA_START, end: 0xffff804000000000n, maxFrame: 0x7ffffffffn },
  xenSlots: { type: PGT_l4_page_table, first: FIRST_XEN_SLOT, last: LAST_XEN_SLOT },
  mmuextSize: 24,
  hypercallVector: undefined,
  passesGates: false,
  segmentBases: true,

  isGuestAddress: linear => linear < LOWER_HALF_END || (linear >= XEN_AREA_END && linear <= 0xffffffffffffffffn),
  isGuestAddressOfHalves: (_, high) => high < 0x8000 || high >= 0xffff8800,
  // Any base and any limit: the processor does not look at them in 64-bit code.
  checkSegment: () => true,
  isRegistered: (_, address) => address !== 0n,
  cr3Of: root => BigInt(root) << 12n,
  rootOf: cr3 => Number(cr3 >> 12n),

  // push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret; for iret also push rax, and no way back
  hypercallPage: () =>
    hypercallSlots(number =>
      number === __HYPERVISOR_iret
        ? [0x51, 0x41, 0x53, 0x50, 0xb8, number, 0, 0, 0, 0x0f, 0x05]
        : [0x51, 0x41, 0x53, 0xb8, number, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3],
    ),

  bounce: bounce64,
  iret: iret64,
  systemCall(v) {
    const wide = v.cpu.mode === 64;
    return {
      callback: wide ? v.state.syscall64 : v.state.syscall32,
      code: wide ? FLAT_RING3_CS64 : FLAT_RING3_CS32,
      stack: FLAT_RING3_SS32,
      clear: RFLAGS_DF,
      // As if the instruction did not exist.
      refusal: { vector: vectors.UD },
    };
  },
  callbackRegistration(call, pointer) {
    const op = call.load(pointer, callback_register);
    return op && { ...op, selector: 0 };
  },
  hypercalls: () => ({}),
};
