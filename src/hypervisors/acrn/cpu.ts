/** ACRN's identification leaves (Linux arch/x86/include/asm/acrn.h). A guest that is not the service VM has no hypercalls. */
import { EMPTY_LEAF, signatureLeaf, withHypervisor } from '../../paravirt/cpuid.ts';
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';

const ACRN_CPUID_SIGNATURE = 0x40000000;
/** EAX: bit 0 is the service VM's. */
const ACRN_CPUID_FEATURES = 0x40000001;
/** EAX: the TSC's frequency in kHz. It is the last leaf. */
const ACRN_CPUID_TIMING_INFO = 0x40000010;

export function createCpu(_context: HypervisorContext): Group<'cpu'> {
  return {
    cpuid(cpu, leaf, _subleaf, natively) {
      if (leaf === 1) return withHypervisor(natively());
      if (leaf === ACRN_CPUID_SIGNATURE) return signatureLeaf(ACRN_CPUID_TIMING_INFO, 'ACRNACRNACRN');
      if (leaf === ACRN_CPUID_TIMING_INFO) return { ...EMPTY_LEAF, eax: Math.floor(cpu.tsc.frequency / 1000) };
      return leaf >= ACRN_CPUID_FEATURES && leaf < ACRN_CPUID_TIMING_INFO ? EMPTY_LEAF : undefined;
    },
  };
}
