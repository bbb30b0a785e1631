/** Model-specific registers of bare hardware (SDM 4; AMD APM 2 appendix A). One entry each; what is not here is #GP. */
import { setEfer } from './control.ts';
import { type Cpu, isCanonical } from './cpu.ts';
import * as state from './state.ts';

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
/** Keeps what is written, for registers whose effect nobody can see here. */
function stored(name: string, initial = 0n, check: (value: bigint) => boolean = () => true): NativeMsr {
  const values = new WeakMap<Cpu, bigint>();
  return {
    name,
    read: cpu => values.get(cpu) ?? initial,
    write(cpu, value) {
      if (!check(value)) return false;
      values.set(cpu, value);
      return true;
    },
  };
}
/** Every byte of PAT names a memory type that exists (SDM 3A 11.12.2). */
function validPat(value: bigint): boolean {
  for (let i = 0n; i < 64n; i += 8n) if (![0, 1, 4, 5, 6, 7].includes(Number((value >> i) & 0xffn))) return false;
  return true;
}

const VARIABLE_MTRRS = 8;
const FIXED_MTRRS: [number, string][] = [
  [0x250, 'IA32_MTRR_FIX64K_00000'],
  [0x258, 'IA32_MTRR_FIX16K_80000'],
  [0x259, 'IA32_MTRR_FIX16K_A0000'],
  ...Array.from({ length: 8 }, (_, i): [number, string] => [
    0x268 + i,
    `IA32_MTRR_FIX4K_${(0xc0000 + 0x8000 * i).toString(16).toUpperCase()}`,
  ]),
];

/** RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, BHI_NO, GDS_NO, RFDS_NO. */
const ARCH_CAPABILITIES = [0n, 1n, 3n, 4n, 5n, 6n, 8n, 20n, 26n, 27n].reduce((mask, n) => mask | (1n << n), 0n);

export const nativeMsrs: Readonly<Record<number, NativeMsr>> = {
  16: {
    name: 'IA32_TIME_STAMP_COUNTER',
    read: cpu => cpu.environment.tsc(),
    write(cpu, value) {
      cpu.environment.setTsc(value);
      return true;
    },
  },
  23: readOnly('IA32_PLATFORM_ID', 0n),
  72: stored('IA32_SPEC_CTRL', 0n, value => value <= 7n),
  73: { name: 'IA32_PRED_CMD', write: (_cpu, value) => value <= 1n },
  139: constant('IA32_BIOS_SIGN_ID', 0n),
  254: readOnly('IA32_MTRRCAP', BigInt(VARIABLE_MTRRS) | 0x500n),
  266: readOnly('IA32_ARCH_CAPABILITIES', ARCH_CAPABILITIES),
  372: field('IA32_SYSENTER_CS', state.SYSENTER_CS),
  373: field('IA32_SYSENTER_ESP', state.SYSENTER_ESP, isCanonical),
  374: field('IA32_SYSENTER_EIP', state.SYSENTER_EIP, isCanonical),
  377: readOnly('IA32_MCG_CAP', 0n),
  378: stored('IA32_MCG_STATUS'),
  473: stored('IA32_DEBUGCTL', 0n, value => value === 0n || value <= 3n),
  631: field('IA32_PAT', state.PAT, validPat),
  767: stored('IA32_MTRR_DEF_TYPE', 0xc06n),
  ...Object.fromEntries(FIXED_MTRRS.map(([index, name]) => [index, stored(name, 0x0606060606060606n)])),
  ...Object.fromEntries(
    Array.from({ length: VARIABLE_MTRRS }, (_, i) => [
      [0x200 + 2 * i, stored(`IA32_MTRR_PHYSBASE${i}`)],
      [0x201 + 2 * i, stored(`IA32_MTRR_PHYSMASK${i}`)],
    ]).flat(),
  ),
  3221225600: { name: 'IA32_EFER', read: cpu => cpu.get64(state.EFER), write: setEfer },
  3221225601: field('IA32_STAR', state.STAR),
  3221225602: field('IA32_LSTAR', state.LSTAR, isCanonical),
  3221225603: field('IA32_CSTAR', state.CSTAR, isCanonical),
  3221225604: field('IA32_FMASK', state.FMASK),
  3221225728: field('IA32_FS_BASE', state.SEGMENT_BASE + 8 * state.FS, isCanonical),
  3221225729: field('IA32_GS_BASE', state.SEGMENT_BASE + 8 * state.GS, isCanonical),
  3221225730: field('IA32_KERNEL_GS_BASE', state.KERNEL_GS_BASE, isCanonical),
  3221225731: field('IA32_TSC_AUX', state.TSC_AUX, value => value <= 0xffffffffn),
  // AMD's: Linux reads these by family without asking first.
  // K7's performance counters: there, and standing still.
  ...Object.fromEntries(
    [0, 1, 2, 3].flatMap(i => [
      [0xc0010000 + i, stored(`PERF_CTL${i}`)],
      [0xc0010004 + i, stored(`PERF_CTR${i}`)],
    ]),
  ),
  3221291024: stored('SYSCFG'),
  3221291029: stored('HWCR'),
  3221291039: stored('NB_CFG'),
  3221291093: readOnly('INT_PENDING', 0n),
  3221291106: constant('P_STATE_CTL', 0n),
  3221291284: readOnly('VM_CR', 0n),
  3221291328: readOnly('OSVW_ID_LENGTH', 0n),
  3221291329: readOnly('OSVW_STATUS', 0n),
  3221295117: stored('LS_CFG_2'),
  3221295136: stored('LS_CFG'),
  3221295138: stored('DC_CFG'),
  3221295139: stored('BU_CFG'),
  3221295145: stored('DE_CFG'),
};
