/** The random numbers of a machine: what RDRAND and RDSEED answer, and what its entropy source gives. */
import type { Cpu } from '../engine/x86/cpu.ts';
import { state } from '../engine/x86/state.ts';
import type { States } from '../state/state.ts';

const STEP = 0x9e3779b97f4a7c15n;

/** Beyond the numbers of processors: whose sequence the board's is. */
const BOARD = 64;

export const randomSeed = (): bigint => BigInt(Math.floor(Math.random() * 2 ** 53)) << 11n;

/** Numbers of 64 bits by SplitMix64, which has no state but the place in its sequence. */
interface Sequence {
  /** Where it stands. */
  place: bigint;
}

/**
 * Makes a generator.
 * @param which of the machine's. They must not answer the same: they start far from each other
 * @param start where the sequences begin. With another one a restored machine gets other numbers, too
 */
function generator(sequence: Sequence, which: number, start: bigint): () => bigint {
  const first = start + (BigInt(which) << 40n) * STEP;
  return () => {
    const place = BigInt.asUintN(64, sequence.place + STEP);
    sequence.place = place;
    let z = BigInt.asUintN(64, first + place);
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  };
}

/** A processor's generator. */
export function createRandom(cpu: Cpu, processor: number, start: bigint): () => bigint {
  const sequence = {
    get place() {
      return cpu.get64(state.RANDOM_SEED);
    },
    set place(value) {
      cpu.set64(state.RANDOM_SEED, value);
    },
  };
  return generator(sequence, processor, start);
}

/** The board's generator. */
export function createBoardRandom(states: States, start: bigint): () => bigint {
  return generator(
    states.state('board-random', 1, () => ({ place: 0n })),
    BOARD,
    start,
  );
}
