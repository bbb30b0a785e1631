/**
 * The predicates of CMPPS and its kin, as tables: bit n is predicate n's (SDM 2A, table 3-1; those from 8 on are VEX's). SSE's eight are
 * the first of them.
 */

/** The relations for which each of the first 16 holds: less, equal, greater, unordered. The other 16 are the same … */
const RELATIONS = 'E L LE U LGU EGU GU LEG EU LU LEU - LG EG G LEGU'.split(' ');
/** … but for quiet NaNs, which these take to be invalid, and the second 16 the others. */
const SIGNALLING = [1, 2, 5, 6, 9, 10, 13, 14];

const table = (relation: string): number => {
  const half = RELATIONS.reduce((bits, letters, n) => bits | (letters.includes(relation) ? 1 << n : 0), 0);
  return half | (half << 16);
};
export const HOLDS_IF_LESS = table('L');
export const HOLDS_IF_EQUAL = table('E');
export const HOLDS_IF_GREATER = table('G');
export const HOLDS_IF_UNORDERED = table('U');
const first = SIGNALLING.reduce((bits, n) => bits | (1 << n), 0);
/** A quiet NaN is invalid. */
export const SIGNALS = first | ((~first & 0xffff) << 16);

export const SSE_PREDICATES = 7;
export const VEX_PREDICATES = 31;
