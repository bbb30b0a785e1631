/** The numbers that RDRAND and RDSEED answer. */
import type { Cpu } from '../engine/x86/cpu.ts';
import { state } from '../engine/x86/state.ts';

const STEP = 0x9e3779b97f4a7c15n;

export const randomSeed = (): bigint => BigInt(Math.floor(Math.random() * 2 ** 53)) << 11n;

/**
 * Makes a processor's generator: numbers of 64 bits by SplitMix64, which has no state but the place in its sequence.
 * @param start where the sequence begins. With another one a restored machine gets other numbers, too.
 */
export function createRandom(cpu: Cpu, processor: number, start: bigint): () => bigint {
  // Processors must not answer the same: they start far from each other.
  const first = start + (BigInt(processor) << 40n) * STEP;
  return () => {
    const place = BigInt.asUintN(64, cpu.get64(state.RANDOM_SEED) + STEP);
    cpu.set64(state.RANDOM_SEED, place);
    let z = BigInt.asUintN(64, first + place);
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  };
}
