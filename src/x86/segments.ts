/** Numbers of the segment registers (SDM 2B, B.1.4.2). LDTR and TR follow the six that instructions can name. */
export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
export const LDTR = 6;
export const TR = 7;

/** Parts of a selector (SDM 3A 3.4.2): requested privilege level, table indicator, and what error codes show of it. */
export const SELECTOR_RPL = 3;
export const SELECTOR_TI = 1 << 2;
export const SELECTOR_INDEX = 0xfff8;
