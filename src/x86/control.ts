/** Bits of the control registers, EFER and the debug registers, by the manual's names (SDM 3A 2.2.1, 2.5; SDM 3B 17.2). */
export const CR0_PE = 1 << 0;
export const CR0_MP = 1 << 1;
export const CR0_EM = 1 << 2;
export const CR0_TS = 1 << 3;
export const CR0_ET = 1 << 4;
export const CR0_NE = 1 << 5;
export const CR0_WP = 1 << 16;
export const CR0_AM = 1 << 18;
export const CR0_NW = 1 << 29;
export const CR0_CD = 1 << 30;
/** Positive, as is all of CR0 read as a u32; `& CR0_PG` may be negative: compare it with 0. */
export const CR0_PG = 0x80000000;

export const CR4_VME = 1 << 0;
export const CR4_PVI = 1 << 1;
export const CR4_TSD = 1 << 2;
export const CR4_DE = 1 << 3;
export const CR4_PSE = 1 << 4;
export const CR4_PAE = 1 << 5;
export const CR4_MCE = 1 << 6;
export const CR4_PGE = 1 << 7;
export const CR4_PCE = 1 << 8;
export const CR4_OSFXSR = 1 << 9;
export const CR4_OSXMMEXCPT = 1 << 10;
export const CR4_UMIP = 1 << 11;
export const CR4_FSGSBASE = 1 << 16;
export const CR4_PCIDE = 1 << 17;
export const CR4_OSXSAVE = 1 << 18;
export const CR4_SMEP = 1 << 20;
export const CR4_SMAP = 1 << 21;

/** State components, as XCR0 and XSAVE number them (SDM 1, 13.1). */
export const XSTATE_X87 = 1 << 0;
export const XSTATE_SSE = 1 << 1;
export const XSTATE_AVX = 1 << 2;

export const EFER_SCE = 1 << 0;
export const EFER_LME = 1 << 8;
export const EFER_LMA = 1 << 10;
export const EFER_NXE = 1 << 11;
/** AMD APM 2, 3.1.7. */
export const EFER_FFXSR = 1 << 14;

/** DR6: B0-B3; a debug register was accessed while DR7.GD was set; single step; a task switch to a TSS with T set. */
export const DR6_B = 0xf;
export const DR6_BD = 1 << 13;
export const DR6_BS = 1 << 14;
export const DR6_BT = 1 << 15;
/** The bits of DR6 and DR7 that read as 1, always. */
export const DR6_FIXED = 0xffff0ff0;
export const DR7_FIXED = 0x400;
/** DR7: L0 to G3, and GD. */
export const DR7_ENABLED = 0xff;
export const DR7_GD = 1 << 13;
/** L0-L3: a task switch clears them. */
export const DR7_LOCAL = 0x55;
