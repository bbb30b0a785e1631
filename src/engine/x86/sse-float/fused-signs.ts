/** What becomes of the signs in FMA's forms: bits of ARGUMENT[0]. */

/** The product is negated; what is added is in even lanes, and in odd ones. */
export const FUSED_NEGATES_PRODUCT = 1;
export const FUSED_SUBTRACTS_EVEN = 2;
export const FUSED_SUBTRACTS_ODD = 4;
