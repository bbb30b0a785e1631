/** Numbers of model-specific registers, by the manuals' names (SDM 4, table 2-2; AMD APM 2 appendix A and the BKDGs). */
export const IA32_TIME_STAMP_COUNTER = 0x10;
export const IA32_PLATFORM_ID = 0x17;
export const IA32_APIC_BASE = 0x1b;
export const IA32_TSC_ADJUST = 0x3b;
export const IA32_SPEC_CTRL = 0x48;
/** IBRS, STIBP, SSBD: the largest value there is. */
export const SPEC_CTRL_MOST = 7n;
export const IA32_PRED_CMD = 0x49;
/** IBPB. */
export const PRED_CMD_MOST = 1n;
export const IA32_BIOS_SIGN_ID = 0x8b;
export const IA32_MTRRCAP = 0xfe;
export const IA32_ARCH_CAPABILITIES = 0x10a;
export const IA32_SYSENTER_CS = 0x174;
export const IA32_SYSENTER_ESP = 0x175;
export const IA32_SYSENTER_EIP = 0x176;
export const IA32_MCG_CAP = 0x179;
export const IA32_MCG_STATUS = 0x17a;
export const IA32_MISC_ENABLE = 0x1a0;
export const IA32_DEBUGCTL = 0x1d9;
/** IA32_DEBUGCTL: with RFLAGS.TF, a single step is a branch that is taken (SDM 3B 17.4.1). */
export const DEBUGCTL_BTF = 1 << 1;
/** The first of pairs: IA32_MTRR_PHYSBASE0, IA32_MTRR_PHYSMASK0, IA32_MTRR_PHYSBASE1 … */
export const IA32_MTRR_PHYSBASE0 = 0x200;
export const IA32_MTRR_FIX64K_00000 = 0x250;
export const IA32_MTRR_FIX16K_80000 = 0x258;
export const IA32_MTRR_FIX16K_A0000 = 0x259;
/** The first of eight, 0x8000 bytes apart. */
export const IA32_MTRR_FIX4K_C0000 = 0x268;
export const IA32_PAT = 0x277;
export const IA32_MTRR_DEF_TYPE = 0x2ff;
export const IA32_TSC_DEADLINE = 0x6e0;
export const IA32_EFER = 0xc0000080;
export const IA32_STAR = 0xc0000081;
export const IA32_LSTAR = 0xc0000082;
export const IA32_CSTAR = 0xc0000083;
export const IA32_FMASK = 0xc0000084;
export const IA32_FS_BASE = 0xc0000100;
export const IA32_GS_BASE = 0xc0000101;
export const IA32_KERNEL_GS_BASE = 0xc0000102;
export const IA32_TSC_AUX = 0xc0000103;

/** AMD's. The first of four each. */
export const PERF_CTL0 = 0xc0010000;
export const PERF_CTR0 = 0xc0010004;
export const SYSCFG = 0xc0010010;
export const HWCR = 0xc0010015;
export const NB_CFG = 0xc001001f;
export const INT_PENDING = 0xc0010055;
export const P_STATE_CTL = 0xc0010062;
export const VM_CR = 0xc0010114;
export const OSVW_ID_LENGTH = 0xc0010140;
export const OSVW_STATUS = 0xc0010141;
export const LS_CFG_2 = 0xc001100d;
export const LS_CFG = 0xc0011020;
export const DC_CFG = 0xc0011022;
export const BU_CFG = 0xc0011023;
export const DE_CFG = 0xc0011029;
