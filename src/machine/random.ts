/** The numbers that RDRAND and RDSEED answer. */
import type { States } from '../state/state.ts';

/**
 * Makes the generator: numbers of 64 bits by SplitMix64, which has no state but its seed.
 * @param repeats true: the numbers are the same in every run
 */
export function createRandom(states: States, repeats: boolean): () => bigint {
  const first = repeats ? 0n : BigInt(Math.floor(Math.random() * 2 ** 53));
  const state = states.state('random', 1, () => ({ seed: first }));
  return () => {
    state.seed = BigInt.asUintN(64, state.seed + 0x9e3779b97f4a7c15n);
    let z = state.seed;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  };
}
