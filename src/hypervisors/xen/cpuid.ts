/**
 * Xen's own CPUID leaves, from 0x40000000 (public/arch-x86/cpuid.h). Leaf 4 is for HVM and PVH guests only, leaf 5 for
 * PV guests only; the rest they share.
 */
import type { CpuidResult } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { pvclockScale } from '../../paravirt/pvclock.ts';
import { XEN_MAJOR, XEN_MINOR } from './constants.ts';

export const XEN_CPUID_FIRST_LEAF = 0x40000000;
export const XEN_CPUID_MAX_LEAF = 0x40000005;
/** The MSR that a guest writes to have a hypercall page filled. */
export const XEN_HYPERCALL_MSR = 0x40000000;

/** Leaf 3 subleaf 0, EAX: bit 0 the TSC is emulated, bit 1 the host's is reliable, bit 2 RDTSCP works. */
const TSC_EMULATED = 1 << 0;
const TSC_RDTSCP = 1 << 2;
/** tsc_mode: how the toolstack asked for it. 0 is the default, where Xen decides. */
const TSC_MODE = 0;

/** What leaves 2, 4 and 5 say, which differs by kind of guest. */
export interface XenCpuid {
  /** Leaf 2 ECX: XEN_CPUID_FEAT1_*. */
  features1: number;
  /** Leaf 4. */
  hvm?: CpuidResult;
  /** Leaf 5 subleaf 0. */
  pv?: CpuidResult;
}

const nothing: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** Four letters as a register holds them. */
function letters(text: string): number {
  return [...text].reduceRight((word, letter) => ((word << 8) | letter.charCodeAt(0)) >>> 0, 0);
}

/** Answers a Xen leaf; undefined when `leaf` is not one. */
export function xenCpuid(cpu: Processor, leaf: number, subleaf: number, kind: XenCpuid): CpuidResult | undefined {
  switch (leaf) {
    case XEN_CPUID_FIRST_LEAF:
      return { eax: XEN_CPUID_MAX_LEAF, ebx: letters('XenV'), ecx: letters('MMXe'), edx: letters('nVMM') };
    case XEN_CPUID_FIRST_LEAF + 1:
      return { ...nothing, eax: (XEN_MAJOR << 16) | XEN_MINOR };
    case XEN_CPUID_FIRST_LEAF + 2:
      return { eax: 1, ebx: XEN_HYPERCALL_MSR, ecx: kind.features1, edx: 0 };
    case XEN_CPUID_FIRST_LEAF + 3:
      return time(cpu, subleaf);
    case XEN_CPUID_FIRST_LEAF + 4:
      return subleaf === 0 && kind.hvm ? kind.hvm : nothing;
    case XEN_CPUID_FIRST_LEAF + 5:
      return subleaf === 0 && kind.pv ? kind.pv : nothing;
    default:
      return leaf > XEN_CPUID_MAX_LEAF && leaf <= XEN_CPUID_FIRST_LEAF + 0xff ? nothing : undefined;
  }
}

function time(cpu: Processor, subleaf: number): CpuidResult {
  const kilohertz = Math.round(cpu.tsc.frequency / 1000);
  if (subleaf === 0) return { eax: TSC_EMULATED | TSC_RDTSCP, ebx: TSC_MODE, ecx: kilohertz, edx: 1 };
  if (subleaf === 1) {
    // The offset is 0: system time and the TSC start together.
    const scale = pvclockScale(cpu.tsc.frequency);
    return { eax: 0, ebx: 0, ecx: scale.mul, edx: scale.shift >>> 0 };
  }
  return subleaf === 2 ? { ...nothing, eax: kilohertz } : nothing;
}
