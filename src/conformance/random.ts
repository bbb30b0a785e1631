/** Numbers that look random and are the same in every run (xorshift64*, Vigna 2016). */
export function createRandom(seed: bigint) {
  let state = BigInt.asUintN(64, seed) || 1n;
  const next64 = (): bigint => {
    state ^= state >> 12n;
    state = BigInt.asUintN(64, state ^ (state << 25n));
    state ^= state >> 27n;
    return BigInt.asUintN(64, state * 0x2545f4914f6cdd1dn);
  };
  return {
    next64,
    /** An integer from 0 to `limit` - 1. */
    below: (limit: number): number => Number(next64() % BigInt(limit)),
    /** One of `choices`. */
    of: <T>(choices: readonly T[]): T => choices[Number(next64() % BigInt(choices.length))],
  };
}
