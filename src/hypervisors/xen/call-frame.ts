/**
 * Where a hypercall's number, result and six arguments stand while it runs, and how it ends. The places are those of
 * struct multicall_entry of 64-bit guests (public/xen.h), so a multicall's entry is copied in as it is, and a plain
 * call's registers are put in the same places: a hypercall need not know how it was called.
 */

/** How a hypercall ended. The result stands in the frame. */
export const DONE = 0;
/** The frame's arguments say what is left to do: the guest makes the same call again with them. */
export const UNFINISHED = 1;
/** The processor's state has been replaced (iret): there is no result, and a multicall ends here. */
export const REPLACED = 2;

export type Outcome = typeof DONE | typeof UNFINISHED | typeof REPLACED;

/** Arguments of a hypercall at most. */
export const MAX_ARGUMENTS = 6;

export class CallFrame {
  /** The whole structure: op, result, and the arguments, two words each, the lower one first. */
  readonly entry = new Uint32Array(2 * (2 + MAX_ARGUMENTS));
  /** The number (op) as it was passed: only its lower half counts. */
  readonly op = new BigUint64Array(this.entry.buffer, 0, 1);
  readonly result = this.entry.subarray(2, 4);
  /** The arguments as 32-bit words: argument `n` is words 2n and 2n + 1. */
  readonly words = this.entry.subarray(4);
  /** The arguments as 64-bit numbers. */
  readonly longs = new BigUint64Array(this.entry.buffer, 16, MAX_ARGUMENTS);

  get number(): number {
    return this.entry[0];
  }

  /** Stores the result: a value below 2^53, or a negated error. */
  finish(value: number): Outcome {
    this.result[0] = value;
    this.result[1] = value < 0 ? -1 : value > 0xffffffff ? Math.floor(value / 2 ** 32) : 0;
    return DONE;
  }

  /** Stores a result that needs all 64 bits. */
  finish64(value: bigint): Outcome {
    this.result[0] = Number(BigInt.asUintN(32, value));
    this.result[1] = Number(BigInt.asUintN(32, value >> 32n));
    return DONE;
  }
}
