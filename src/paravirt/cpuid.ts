/** What hypervisors' CPUID answers have in common: the bits that guests look at, and names in registers. */
import type { CpuidResult } from './operations.ts';

/** CPUID.1:ECX[31]: there is a hypervisor (SDM calls it reserved; AMD APM 3, E.3.2). */
const HYPERVISOR = 1 << 31;
/** CPUID.80000007H:EDX[8]: the TSC ticks evenly in every power state. */
const INVARIANT_TSC = 1 << 8;

/** Leaf 1 of a processor that says there is a hypervisor. */
export function withHypervisor(answer: CpuidResult): CpuidResult {
  return { ...answer, ecx: (answer.ecx | HYPERVISOR) >>> 0 };
}

/**
 * Leaf 0x80000007 without the promise of an invariant TSC, as hypervisors answer whose guests may move to another host.
 */
export function withoutInvariantTsc(answer: CpuidResult): CpuidResult {
  return { ...answer, edx: (answer.edx & ~INVARIANT_TSC) >>> 0 };
}

/** A signature leaf: `highest` in EAX, up to twelve letters in EBX, ECX and EDX. */
export function signatureLeaf(highest: number, text: string): CpuidResult {
  const word = (at: number) =>
    [0, 1, 2, 3].reduce((sum, byte) => sum + (text.charCodeAt(at + byte) || 0) * 2 ** (8 * byte), 0);
  return { eax: highest, ebx: word(0), ecx: word(4), edx: word(8) };
}

/** The answer of a leaf that exists and is empty. */
export const EMPTY_LEAF: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
