/** The CPUID leaves in which Hyper-V says what it is and what it offers (TLFS chapter 2). */
import { EMPTY_LEAF, signatureLeaf, withHypervisor, withoutInvariantTsc } from '../../paravirt/cpuid.ts';
import type { CpuidResult, HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';

const HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS = 0x40000000;
const HYPERV_CPUID_INTERFACE = 0x40000001;
const HYPERV_CPUID_VERSION = 0x40000002;
const HYPERV_CPUID_FEATURES = 0x40000003;
const HYPERV_CPUID_ENLIGHTMENT_INFO = 0x40000004;
const HYPERV_CPUID_IMPLEMENT_LIMITS = 0x40000005;
/** The last leaf with a meaning; those from 6 on (hardware features, nesting) have nothing to tell here. */
const HYPERV_CPUID_NESTED_FEATURES = 0x4000000a;

/** "Hv#1": this interface. */
const INTERFACE = 0x31237648;
/** Windows Server 2022: 10.0.20348. */
const BUILD = 20348;
const VERSION = 10 << 16;

/** Leaf 3 EAX: groups of registers that exist. */
const HV_MSR_TIME_REF_COUNT_AVAILABLE = 1 << 1;
const HV_MSR_SYNIC_AVAILABLE = 1 << 2;
const HV_MSR_SYNTIMER_AVAILABLE = 1 << 3;
const HV_MSR_APIC_ACCESS_AVAILABLE = 1 << 4;
const HV_MSR_HYPERCALL_AVAILABLE = 1 << 5;
const HV_MSR_VP_INDEX_AVAILABLE = 1 << 6;
const HV_MSR_RESET_AVAILABLE = 1 << 7;
const HV_MSR_REFERENCE_TSC_AVAILABLE = 1 << 9;
const HV_MSR_GUEST_IDLE_AVAILABLE = 1 << 10;
const HV_ACCESS_FREQUENCY_MSRS = 1 << 11;
const FEATURES =
  HV_MSR_TIME_REF_COUNT_AVAILABLE |
  HV_MSR_SYNIC_AVAILABLE |
  HV_MSR_SYNTIMER_AVAILABLE |
  HV_MSR_APIC_ACCESS_AVAILABLE |
  HV_MSR_HYPERCALL_AVAILABLE |
  HV_MSR_VP_INDEX_AVAILABLE |
  HV_MSR_RESET_AVAILABLE |
  HV_MSR_REFERENCE_TSC_AVAILABLE |
  HV_MSR_GUEST_IDLE_AVAILABLE |
  HV_ACCESS_FREQUENCY_MSRS;

/** Leaf 3 EBX: hypercalls that the partition may make. */
const HV_POST_MESSAGES = 1 << 4;
const HV_SIGNAL_EVENTS = 1 << 5;
const PRIVILEGES = HV_POST_MESSAGES | HV_SIGNAL_EVENTS;

/** Leaf 3 EDX. */
const HV_FEATURE_FREQUENCY_MSRS_AVAILABLE = 1 << 8;
const HV_FEATURE_GUEST_CRASH_MSR_AVAILABLE = 1 << 10;
const HV_STIMER_DIRECT_MODE_AVAILABLE = 1 << 19;
const MISCELLANEOUS =
  HV_FEATURE_FREQUENCY_MSRS_AVAILABLE | HV_FEATURE_GUEST_CRASH_MSR_AVAILABLE | HV_STIMER_DIRECT_MODE_AVAILABLE;

/** Leaf 4 EAX: what is worth using. */
const HV_X64_REMOTE_TLB_FLUSH_RECOMMENDED = 1 << 2;
const HV_X64_APIC_ACCESS_RECOMMENDED = 1 << 3;
const HV_X64_SYSTEM_RESET_RECOMMENDED = 1 << 4;
const HV_X64_RELAXED_TIMING_RECOMMENDED = 1 << 5;
const HV_DEPRECATING_AEOI_RECOMMENDED = 1 << 9;
const HV_X64_CLUSTER_IPI_RECOMMENDED = 1 << 10;
const HV_X64_EX_PROCESSOR_MASKS_RECOMMENDED = 1 << 11;
const HINTS =
  HV_X64_REMOTE_TLB_FLUSH_RECOMMENDED |
  HV_X64_APIC_ACCESS_RECOMMENDED |
  HV_X64_SYSTEM_RESET_RECOMMENDED |
  HV_X64_RELAXED_TIMING_RECOMMENDED |
  HV_DEPRECATING_AEOI_RECOMMENDED |
  HV_X64_CLUSTER_IPI_RECOMMENDED |
  HV_X64_EX_PROCESSOR_MASKS_RECOMMENDED;
/**
 * Leaf 4 EBX: how often to try a lock before telling us (HvCallNotifyLongSpinWait). With one processor never: its holder does
 * not execute while we try.
 */
const SPIN_RETRIES = 0xfff;
const NEVER_NOTIFY = 0xffffffff;

export function createCpuid({ cpus }: HypervisorContext) {
  const leaves: Readonly<Record<number, () => CpuidResult>> = {
    [HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS]: () => signatureLeaf(HYPERV_CPUID_NESTED_FEATURES, 'Microsoft Hv'),
    [HYPERV_CPUID_INTERFACE]: () => ({ ...EMPTY_LEAF, eax: INTERFACE }),
    [HYPERV_CPUID_VERSION]: () => ({ ...EMPTY_LEAF, eax: BUILD, ebx: VERSION }),
    [HYPERV_CPUID_FEATURES]: () => ({ eax: FEATURES, ebx: PRIVILEGES, ecx: 0, edx: MISCELLANEOUS }),
    [HYPERV_CPUID_ENLIGHTMENT_INFO]: () => ({
      ...EMPTY_LEAF,
      eax: HINTS,
      ebx: cpus.length > 1 ? SPIN_RETRIES : NEVER_NOTIFY,
    }),
    [HYPERV_CPUID_IMPLEMENT_LIMITS]: () => ({ ...EMPTY_LEAF, eax: cpus.length, ebx: cpus.length }),
  };
  return (_cpu: Processor, leaf: number, _subleaf: number, natively: () => CpuidResult): CpuidResult | undefined => {
    if (leaf === 1) return withHypervisor(natively());
    // As Hyper-V does where it does not promise an invariant TSC: a Linux that sees the bit prefers the plain one.
    if (leaf === 0x80000007) return withoutInvariantTsc(natively());
    if (leaf < HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS || leaf > HYPERV_CPUID_NESTED_FEATURES) return undefined;
    return leaves[leaf]?.() ?? EMPTY_LEAF;
  };
}
