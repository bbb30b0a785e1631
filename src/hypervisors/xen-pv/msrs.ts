/** Model-specific registers as Xen 4.17 shows them to a PV guest: the three segment bases, and little that can be written. */
import { LOCAL_APIC_BASE } from '../../devices/local-apic.ts';
import type { RegisterName } from '../../paravirt/processor.ts';
import { isCanonical } from './page-table-entry.ts';
import type { PvVcpu } from './pv-vcpu.ts';
import { VECTOR_GP } from './vectors.ts';

const MSR_IA32_TSC = 0x10;
const MSR_IA32_APICBASE = 0x1b;
const MSR_IA32_SPEC_CTRL = 0x48;
const MSR_IA32_ARCH_CAPABILITIES = 0x10a;
const MSR_IA32_MCG_CAP = 0x179;
const MSR_IA32_MCG_STATUS = 0x17a;
const MSR_IA32_MISC_ENABLE = 0x1a0;
const MSR_IA32_CR_PAT = 0x277;
const MSR_IA32_PERF_CAPABILITIES = 0x345;
const MSR_EFER = 0xc0000080;
const MSR_AMD64_HWCR = 0xc0010015;
const MSR_AMD64_NB_CFG = 0xc001001f;
const MSR_FAM10H_MMIO_CONF_BASE = 0xc0010058;
/** AMD's P-state registers: the limit, the control, the status and eight definitions. */
const MSR_AMD_PSTATE_FIRST = 0xc0010061;
const MSR_AMD_PSTATE_LAST = 0xc001006b;
/** AMD's first performance counters and their event selectors. */
const MSR_K7_EVNTSEL0 = 0xc0010000;
const MSR_K7_PERFCTR3 = 0xc0010007;

const BASES: Readonly<Record<number, RegisterName>> = {
  3221225728: 'fsBase', // MSR_FS_BASE
  3221225729: 'gsBase', // MSR_GS_BASE: the kernel's, which is active
  3221225730: 'kernelGsBase', // MSR_KERNEL_GS_BASE: the user's
};

/** The local APIC's address and its enable bit; bit 8 marks the first processor. There is no APIC behind it. */
const APIC_BASE_ENABLE = 0x800n;
const APIC_BASE = BigInt(LOCAL_APIC_BASE) | APIC_BASE_ENABLE;
const APIC_BASE_BSP = 0x100n;
/** Xen's own memory types: WB WT UC- UC WC WP UC UC. */
const XEN_PAT = 0x050100070406n;
/**
 * RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, BHI_NO, GDS_NO, RFDS_NO: nothing here speculates,
 * and a guest that knows it needs no retpolines.
 */
const ARCH_CAPABILITIES = [0n, 1n, 3n, 4n, 5n, 6n, 8n, 20n, 26n, 27n].reduce((bits, bit) => bits | (1n << bit), 0n);
/** No branch trace, no event sampling, task priority messages off. */
const MISC_ENABLE = (1n << 11n) | (1n << 12n) | (1n << 23n);

const isPstate = (index: number) => index >= MSR_AMD_PSTATE_FIRST && index <= MSR_AMD_PSTATE_LAST;
const isCounter = (index: number) => index >= MSR_K7_EVNTSEL0 && index <= MSR_K7_PERFCTR3;

/** Undefined for #GP. */
export function readMsr(v: PvVcpu, index: number): bigint | undefined {
  const { cpu } = v;
  const base = BASES[index];
  if (base) return cpu.get(base);
  switch (index) {
    case MSR_IA32_TSC:
      return cpu.tsc.read();
    case MSR_IA32_APICBASE:
      return v.vcpu.id === 0 ? APIC_BASE | APIC_BASE_BSP : APIC_BASE;
    case MSR_EFER:
      return cpu.get('efer');
    case MSR_IA32_CR_PAT:
      return XEN_PAT;
    case MSR_IA32_MISC_ENABLE:
      return MISC_ENABLE;
    case MSR_IA32_ARCH_CAPABILITIES:
      return ARCH_CAPABILITIES;
    case MSR_IA32_SPEC_CTRL:
    case MSR_IA32_MCG_CAP: // no banks
    case MSR_IA32_MCG_STATUS:
    case MSR_IA32_PERF_CAPABILITIES:
    case MSR_AMD64_HWCR:
    case MSR_AMD64_NB_CFG:
    case MSR_FAM10H_MMIO_CONF_BASE:
      return 0n;
  }
  if (isPstate(index) || isCounter(index)) return 0n;
  cpu.log.once(`pv-rdmsr-${index}`, `xen-pv: RDMSR of 0x${index.toString(16)}: not there`);
  // Xen's courtesy to a kernel that cannot catch a #GP yet.
  const catches = v.state.traps.address[VECTOR_GP] !== 0n;
  return catches || index >>> 16 === 0x4000 ? undefined : 0n;
}

/** False for #GP. */
export function writeMsr(v: PvVcpu, index: number, value: bigint): boolean {
  const base = BASES[index];
  if (base) {
    if (!isCanonical(value)) return false;
    v.cpu.set(base, value);
    return true;
  }
  // These take back what they gave and nothing else.
  if (index === MSR_EFER || index === MSR_IA32_MISC_ENABLE) return readMsr(v, index) === value;
  if (index === MSR_IA32_SPEC_CTRL) return value >> 11n === 0n;
  if (index === MSR_AMD64_HWCR || index === MSR_AMD64_NB_CFG || isPstate(index) || isCounter(index)) return true;
  v.cpu.log.once(`pv-wrmsr-${index}`, `xen-pv: WRMSR of 0x${value.toString(16)} to 0x${index.toString(16)}: refused`);
  return false;
}
