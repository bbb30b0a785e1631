/**
 * CPUID as a PV guest is shown it: the processor's own answer without what paravirtualization takes away, and Xen's
 * leaves.
 */
import type { CpuidResult } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { xenCpuid } from '../xen/cpuid.ts';

/** Leaf 2 ECX: MMU_PT_UPDATE_PRESERVE_AD works. */
const XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD = 1;

/** Leaf 5 EBX: bits of a machine address. Memory here ends below 4 GiB, frame numbers are 32 bits. */
const MACHINE_ADDRESS_WIDTH = 36;

/**
 * Leaf 1 EDX: VME, PSE, SEP (no processor of AMD's has SYSENTER in long mode), PGE, MTRR, PSE36, and the thermal and
 * debug-store bits.
 */
const HIDDEN_1D =
  (1 << 1) | (1 << 3) | (1 << 11) | (1 << 13) | (1 << 12) | (1 << 17) | (1 << 21) | (1 << 22) | (1 << 29);
/** Leaf 1 ECX: MONITOR, PCID, x2APIC, TSC deadline. */
const HIDDEN_1C = (1 << 3) | (1 << 17) | (1 << 21) | (1 << 24);
const SHOWN_1C_XSAVE = 1 << 26;
const SHOWN_1C_OSXSAVE = 1 << 27;
const SHOWN_1C_HYPERVISOR = 1 << 31;
/** Leaf 7 EBX: TSC_ADJUST, SMEP, INVPCID, SMAP. */
const HIDDEN_7B = (1 << 1) | (1 << 7) | (1 << 10) | (1 << 20);
/** Leaf 7 ECX: UMIP, PKU, OSPKE, WAITPKG, LA57. */
const HIDDEN_7C = (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 16);
/**
 * Leaf 7 EDX: SPEC_CTRL and PRED_CMD. A guest that has the latter writes it at every switch of processes: a trap each.
 */
const HIDDEN_7D = 1 << 26;
/** Leaf 0x80000001 EDX: what leaf 1 hides, 1 GiB pages, RDTSCP. */
const HIDDEN_EXTENDED_D = (1 << 1) | (1 << 3) | (1 << 12) | (1 << 13) | (1 << 17) | (1 << 26) | (1 << 27);
const LONG_MODE = 1 << 29;
/** Leaf 0x80000001 ECX: SVM, extended APIC space, SKINIT, WDT. */
const HIDDEN_EXTENDED_C = (1 << 2) | (1 << 3) | (1 << 12) | (1 << 13);

/** @param wide the guest is one of 64 bits: the other kind has no long mode. */
export function pvCpuid(
  cpu: Processor,
  leaf: number,
  subleaf: number,
  natively: () => CpuidResult,
  wide = true,
): CpuidResult {
  const ours = xenCpuid(cpu, leaf, subleaf, {
    features1: XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD,
    pv: { eax: 0, ebx: MACHINE_ADDRESS_WIDTH, ecx: 0, edx: 0 },
  });
  if (ours) return ours;
  const answer = natively();
  switch (leaf >>> 0) {
    case 1: {
      const osxsave = answer.ecx & SHOWN_1C_XSAVE ? SHOWN_1C_OSXSAVE : 0;
      return {
        ...answer,
        ecx: ((answer.ecx & ~HIDDEN_1C) | osxsave | SHOWN_1C_HYPERVISOR) >>> 0,
        edx: (answer.edx & ~HIDDEN_1D) >>> 0,
      };
    }
    case 5: // MONITOR
    case 6: // power
    case 0xa: // performance counters
      return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    case 7:
      if (subleaf !== 0) return answer;
      return {
        ...answer,
        ebx: (answer.ebx & ~HIDDEN_7B) >>> 0,
        ecx: (answer.ecx & ~HIDDEN_7C) >>> 0,
        edx: (answer.edx & ~HIDDEN_7D) >>> 0,
      };
    case 0x80000001:
      return {
        ...answer,
        ecx: (answer.ecx & ~HIDDEN_EXTENDED_C) >>> 0,
        edx: (answer.edx & ~(wide ? HIDDEN_EXTENDED_D : HIDDEN_EXTENDED_D | LONG_MODE)) >>> 0,
      };
    default:
      return answer;
  }
}
