/**
 * Model-specific registers as Xen 4.17 shows them to a PV guest: the three segment bases, and little that can be
 * written.
 */

import { LOCAL_APIC_BASE } from '../../devices/local-apic.ts';
import type { RegisterName } from '../../paravirt/processor.ts';
import {
  HWCR,
  IA32_APIC_BASE,
  IA32_ARCH_CAPABILITIES,
  IA32_EFER,
  IA32_FS_BASE,
  IA32_GS_BASE,
  IA32_KERNEL_GS_BASE,
  IA32_MCG_CAP,
  IA32_MCG_STATUS,
  IA32_MISC_ENABLE,
  IA32_PAT,
  IA32_SPEC_CTRL,
  IA32_TIME_STAMP_COUNTER,
  NB_CFG,
  PERF_CTL0,
  PERF_CTR0,
} from '../../x86/msrs.ts';
import * as vectors from '../../x86/vectors.ts';
import { isCanonical } from './page-table-entry.ts';
import type { PvVcpu } from './pv-vcpu.ts';

const MSR_IA32_PERF_CAPABILITIES = 0x345;
const MSR_FAM10H_MMIO_CONF_BASE = 0xc0010058;
/** AMD's P-state registers: the limit, the control, the status and eight definitions. */
const MSR_AMD_PSTATE_FIRST = 0xc0010061;
const MSR_AMD_PSTATE_LAST = 0xc001006b;
/** AMD's first performance counters and their event selectors. */
const LAST_PERF_CTR = PERF_CTR0 + 3;

const BASES: Readonly<Record<number, RegisterName>> = {
  [IA32_FS_BASE]: 'fsBase',
  /** The kernel's, which is active. */
  [IA32_GS_BASE]: 'gsBase',
  /** The user's. */
  [IA32_KERNEL_GS_BASE]: 'kernelGsBase',
};

/** The local APIC's address and its enable bit; bit 8 marks the first processor. There is no APIC behind it. */
const APIC_BASE_ENABLE = 0x800n;
const APIC_BASE = BigInt(LOCAL_APIC_BASE) | APIC_BASE_ENABLE;
const APIC_BASE_BSP = 0x100n;
/** Xen's own memory types: WB WT UC- UC WC WP UC UC. */
const XEN_PAT = 0x050100070406n;
/**
 * RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, BHI_NO, GDS_NO, RFDS_NO: nothing here
 * speculates, and a guest that knows it needs no retpolines.
 */
const ARCH_CAPABILITIES = [0n, 1n, 3n, 4n, 5n, 6n, 8n, 20n, 26n, 27n].reduce((bits, bit) => bits | (1n << bit), 0n);
/** No branch trace, no event sampling, task priority messages off. */
const MISC_ENABLE = (1n << 11n) | (1n << 12n) | (1n << 23n);

const isPstate = (index: number) => index >= MSR_AMD_PSTATE_FIRST && index <= MSR_AMD_PSTATE_LAST;
const isCounter = (index: number) => index >= PERF_CTL0 && index <= LAST_PERF_CTR;

/** Undefined for #GP. */
export function readMsr(v: PvVcpu, index: number): bigint | undefined {
  const { cpu } = v;
  const base = v.abi.segmentBases ? BASES[index] : undefined;
  if (base) return cpu.get(base);
  switch (index) {
    case IA32_TIME_STAMP_COUNTER:
      return cpu.tsc.read();
    case IA32_APIC_BASE:
      return v.vcpu.id === 0 ? APIC_BASE | APIC_BASE_BSP : APIC_BASE;
    case IA32_EFER:
      return cpu.get('efer');
    case IA32_PAT:
      return XEN_PAT;
    case IA32_MISC_ENABLE:
      return MISC_ENABLE;
    case IA32_ARCH_CAPABILITIES:
      return ARCH_CAPABILITIES;
    case IA32_SPEC_CTRL:
    case IA32_MCG_CAP: // no banks
    case IA32_MCG_STATUS:
    case MSR_IA32_PERF_CAPABILITIES:
    case HWCR:
    case NB_CFG:
    case MSR_FAM10H_MMIO_CONF_BASE:
      return 0n;
  }
  if (isPstate(index) || isCounter(index)) return 0n;
  cpu.log.once(`pv-rdmsr-${index}`, `xen-pv: RDMSR of 0x${index.toString(16)}: not there`);
  // Xen's courtesy to a kernel that cannot catch a #GP yet.
  const catches = v.state.traps.address[vectors.GP] !== 0n;
  return catches || index >>> 16 === 0x4000 ? undefined : 0n;
}

/** False for #GP. */
export function writeMsr(v: PvVcpu, index: number, value: bigint): boolean {
  const base = v.abi.segmentBases ? BASES[index] : undefined;
  if (base) {
    if (!isCanonical(value)) return false;
    v.cpu.set(base, value);
    return true;
  }
  // These take back what they gave and nothing else.
  if (index === IA32_EFER || index === IA32_MISC_ENABLE) return readMsr(v, index) === value;
  if (index === IA32_SPEC_CTRL) return value >> 11n === 0n;
  if (index === HWCR || index === NB_CFG || isPstate(index) || isCounter(index)) return true;
  v.cpu.log.once(`pv-wrmsr-${index}`, `xen-pv: WRMSR of 0x${value.toString(16)} to 0x${index.toString(16)}: refused`);
  return false;
}
