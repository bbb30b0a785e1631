/** Model-specific registers of bare hardware (SDM 4; AMD APM 2 appendix A). One entry each; what is not here is #GP. */
import * as msrs from '../../x86/msrs.ts';
import { FS, GS } from '../../x86/segments.ts';
import { setEfer } from './control.ts';
import { type Cpu, isCanonical } from './cpu.ts';
import { state } from './state.ts';

export interface NativeMsr {
  name: string;
  read?(cpu: Cpu): bigint;
  /** @returns false for #GP. */
  write?(cpu: Cpu, value: bigint): boolean;
}

/** A register that is a field of the state. */
function field(name: string, offset: number, check: (value: bigint) => boolean = () => true): NativeMsr {
  return {
    name,
    read: cpu => cpu.get64(offset),
    write(cpu, value) {
      if (!check(value)) return false;
      cpu.set64(offset, value);
      return true;
    },
  };
}
/** Reads a constant; writes vanish. */
function constant(name: string, value: bigint): NativeMsr {
  return { name, read: () => value, write: () => true };
}
function readOnly(name: string, value: bigint): NativeMsr {
  return { name, read: () => value };
}
/** Memory types: UC, WC, WT, WP, WB (SDM 3A table 11-2); PAT also knows UC- (table 11-10). */
const MEMORY_TYPES = [0, 1, 4, 5, 6];
const PAT_TYPES = [...MEMORY_TYPES, 7];
/** Every byte names one of these memory types. */
const allOf =
  (types: readonly number[]) =>
  (value: bigint): boolean => {
    for (let i = 0n; i < 64n; i += 8n) if (!types.includes(Number((value >> i) & 0xffn))) return false;
    return true;
  };
/** The lowest byte is a memory type, and no reserved bit is set (SDM 3A 11.11.2). */
const typed =
  (reserved: bigint) =>
  (value: bigint): boolean =>
    MEMORY_TYPES.includes(Number(value & 0xffn)) && !(value & reserved);
/** Address bits that MAXPHYADDR, 40, does not have. */
const NO_ADDRESS = 0xffffff0000000000n;
const isMtrrDefault = typed(0xfffffffffffff300n);
const isMtrrBase = typed(NO_ADDRESS | 0xf00n);
const isMtrrMask = (value: bigint): boolean => !(value & (NO_ADDRESS | 0x7ffn));

/** The guest sets its time-stamp counter: what goes by it hears of that. */
function setTscOffset(cpu: Cpu, offset: bigint): true {
  cpu.set64(state.TSC_OFFSET, BigInt.asUintN(64, offset));
  cpu.environment.tscMoved();
  return true;
}

const VARIABLE_MTRRS = 8;
/** In the order of the field IA32_MTRR_FIX. */
const FIXED_MTRRS: [number, string][] = [
  [msrs.IA32_MTRR_FIX64K_00000, 'IA32_MTRR_FIX64K_00000'],
  [msrs.IA32_MTRR_FIX16K_80000, 'IA32_MTRR_FIX16K_80000'],
  [msrs.IA32_MTRR_FIX16K_A0000, 'IA32_MTRR_FIX16K_A0000'],
  ...Array.from({ length: 8 }, (_, i): [number, string] => [
    msrs.IA32_MTRR_FIX4K_C0000 + i,
    `IA32_MTRR_FIX4K_${(0xc0000 + 0x8000 * i).toString(16).toUpperCase()}`,
  ]),
];

/** RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, BHI_NO, GDS_NO, RFDS_NO. */
const ARCH_CAPABILITIES = [0n, 1n, 3n, 4n, 5n, 6n, 8n, 20n, 26n, 27n].reduce((mask, n) => mask | (1n << n), 0n);

export const nativeMsrs: Readonly<Record<number, NativeMsr>> = {
  [msrs.IA32_TIME_STAMP_COUNTER]: {
    name: 'IA32_TIME_STAMP_COUNTER',
    read: cpu => cpu.environment.tsc(),
    write: (cpu, value) => setTscOffset(cpu, cpu.get64(state.TSC_OFFSET) + value - cpu.environment.tsc()),
  },
  // A write of either adds to both what it adds to the counter (SDM 3B 18.17.3), and both start at 0: they are one.
  [msrs.IA32_TSC_ADJUST]: { name: 'IA32_TSC_ADJUST', read: cpu => cpu.get64(state.TSC_OFFSET), write: setTscOffset },
  [msrs.IA32_PLATFORM_ID]: readOnly('IA32_PLATFORM_ID', 0n),
  [msrs.IA32_SPEC_CTRL]: field('IA32_SPEC_CTRL', state.IA32_SPEC_CTRL, value => value <= msrs.SPEC_CTRL_MOST),
  [msrs.IA32_PRED_CMD]: { name: 'IA32_PRED_CMD', write: (_cpu, value) => value <= msrs.PRED_CMD_MOST },
  [msrs.IA32_BIOS_SIGN_ID]: constant('IA32_BIOS_SIGN_ID', 0n),
  [msrs.IA32_MTRRCAP]: readOnly('IA32_MTRRCAP', BigInt(VARIABLE_MTRRS) | 0x500n),
  [msrs.IA32_ARCH_CAPABILITIES]: readOnly('IA32_ARCH_CAPABILITIES', ARCH_CAPABILITIES),
  [msrs.IA32_SYSENTER_CS]: field('IA32_SYSENTER_CS', state.SYSENTER_CS),
  [msrs.IA32_SYSENTER_ESP]: field('IA32_SYSENTER_ESP', state.SYSENTER_ESP, isCanonical),
  [msrs.IA32_SYSENTER_EIP]: field('IA32_SYSENTER_EIP', state.SYSENTER_EIP, isCanonical),
  [msrs.IA32_MCG_CAP]: readOnly('IA32_MCG_CAP', 0n),
  [msrs.IA32_MCG_STATUS]: field('IA32_MCG_STATUS', state.IA32_MCG_STATUS),
  [msrs.IA32_DEBUGCTL]: field('IA32_DEBUGCTL', state.IA32_DEBUGCTL, value => value === 0n || value <= 3n),
  [msrs.IA32_PAT]: field('IA32_PAT', state.PAT, allOf(PAT_TYPES)),
  [msrs.IA32_MTRR_DEF_TYPE]: field('IA32_MTRR_DEF_TYPE', state.IA32_MTRR_DEF_TYPE, isMtrrDefault),
  ...Object.fromEntries(
    FIXED_MTRRS.map(([index, name], i) => [index, field(name, state.IA32_MTRR_FIX + 8 * i, allOf(MEMORY_TYPES))]),
  ),
  ...Object.fromEntries(
    Array.from({ length: VARIABLE_MTRRS }, (_, i) => [
      [msrs.IA32_MTRR_PHYSBASE0 + 2 * i, field(`IA32_MTRR_PHYSBASE${i}`, state.IA32_MTRR_PHYSBASE + 8 * i, isMtrrBase)],
      [
        msrs.IA32_MTRR_PHYSBASE0 + 2 * i + 1,
        field(`IA32_MTRR_PHYSMASK${i}`, state.IA32_MTRR_PHYSMASK + 8 * i, isMtrrMask),
      ],
    ]).flat(),
  ),
  [msrs.IA32_EFER]: { name: 'IA32_EFER', read: cpu => cpu.get64(state.EFER), write: setEfer },
  [msrs.IA32_STAR]: field('IA32_STAR', state.STAR),
  [msrs.IA32_LSTAR]: field('IA32_LSTAR', state.LSTAR, isCanonical),
  [msrs.IA32_CSTAR]: field('IA32_CSTAR', state.CSTAR, isCanonical),
  [msrs.IA32_FMASK]: field('IA32_FMASK', state.FMASK),
  [msrs.IA32_FS_BASE]: field('IA32_FS_BASE', state.SEGMENT_BASE + 8 * FS, isCanonical),
  [msrs.IA32_GS_BASE]: field('IA32_GS_BASE', state.SEGMENT_BASE + 8 * GS, isCanonical),
  [msrs.IA32_KERNEL_GS_BASE]: field('IA32_KERNEL_GS_BASE', state.KERNEL_GS_BASE, isCanonical),
  [msrs.IA32_TSC_AUX]: field('IA32_TSC_AUX', state.TSC_AUX, value => value <= 0xffffffffn),
  // AMD's: Linux reads these by family without asking first.
  // K7's performance counters keep nothing that is written to them. A kernel that tries them out then knows that nothing counts,
  // as under a hypervisor without counters, and its tools say "not supported" instead of 0.
  ...Object.fromEntries(
    [0, 1, 2, 3].flatMap(i => [
      [msrs.PERF_CTL0 + i, constant(`PERF_CTL${i}`, 0n)],
      [msrs.PERF_CTR0 + i, constant(`PERF_CTR${i}`, 0n)],
    ]),
  ),
  [msrs.SYSCFG]: field('SYSCFG', state.SYSCFG),
  [msrs.HWCR]: field('HWCR', state.HWCR),
  [msrs.NB_CFG]: field('NB_CFG', state.NB_CFG),
  [msrs.INT_PENDING]: readOnly('INT_PENDING', 0n),
  [msrs.P_STATE_CTL]: constant('P_STATE_CTL', 0n),
  [msrs.VM_CR]: readOnly('VM_CR', 0n),
  [msrs.OSVW_ID_LENGTH]: readOnly('OSVW_ID_LENGTH', 0n),
  [msrs.OSVW_STATUS]: readOnly('OSVW_STATUS', 0n),
  [msrs.LS_CFG_2]: field('LS_CFG_2', state.LS_CFG_2),
  [msrs.LS_CFG]: field('LS_CFG', state.LS_CFG),
  [msrs.DC_CFG]: field('DC_CFG', state.DC_CFG),
  [msrs.BU_CFG]: field('BU_CFG', state.BU_CFG),
  [msrs.DE_CFG]: field('DE_CFG', state.DE_CFG),
};
