/**
 * Vectors of exceptions and NMI, by the manual's mnemonics (SDM 3A table 6-1). Some are also names of flags or segments
 * (OF, DF, AC, SS), so import the whole: `import * as vectors`.
 */
export const DE = 0;
export const DB = 1;
export const NMI = 2;
export const BP = 3;
export const OF = 4;
export const BR = 5;
export const UD = 6;
export const NM = 7;
export const DF = 8;
/** Coprocessor segment overrun: the 386 alone raises it. */
export const COPROCESSOR = 9;
export const TS = 10;
export const NP = 11;
export const SS = 12;
export const GP = 13;
export const PF = 14;
export const MF = 16;
export const AC = 17;
export const MC = 18;
export const XM = 19;
export const VE = 20;
export const CP = 21;

/** Vectors that push an error code, a bit each. */
export const WITH_ERROR_CODE = [DF, TS, NP, SS, GP, PF, AC, CP].reduce((mask, vector) => mask | (1 << vector), 0);
export function hasErrorCode(vector: number): boolean {
  return vector < 32 && ((WITH_ERROR_CODE >>> vector) & 1) !== 0;
}

/** Error codes that name a descriptor (SDM 3A 6.13): the event was external to the program; the index is the IDT's. */
export const ERROR_EXT = 1 << 0;
export const ERROR_IDT = 1 << 1;

/** Error code of #PF (SDM 3A 4.7). */
export const PAGE_FAULT_P = 1 << 0;
export const PAGE_FAULT_WR = 1 << 1;
export const PAGE_FAULT_US = 1 << 2;
export const PAGE_FAULT_RSVD = 1 << 3;
export const PAGE_FAULT_ID = 1 << 4;
