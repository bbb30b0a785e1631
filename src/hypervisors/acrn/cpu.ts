/** ACRN's signature leaf. */
import { signatureLeaf, withHypervisor } from '../../paravirt/cpuid.ts';
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';

const ACRN_CPUID_SIGNATURE = 0x40000000;

export function createCpu(_context: HypervisorContext): Group<'cpu'> {
  return {
    cpuid(_cpu, leaf, _subleaf, natively) {
      if (leaf === 1) return withHypervisor(natively());
      if (leaf === ACRN_CPUID_SIGNATURE) return signatureLeaf(ACRN_CPUID_SIGNATURE, 'ACRNACRNACRN');
      return undefined;
    },
  };
}
