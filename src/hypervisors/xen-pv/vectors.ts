/** Exception vectors (SDM 3A table 6-1). */
export const VECTOR_UD = 6;
export const VECTOR_NM = 7;
export const VECTOR_GP = 13;
export const VECTOR_PF = 14;
