/**
 * What surrounds a floating-point operation: rounding, masks, and the exceptions raised so far. The x87 and SSE keep
 * the same six exceptions in the same bits, and the same encoding of rounding, so one form serves both (SDM 1, 8.1.3
 * and 10.2.3).
 */

/** Exceptions: bits of the x87 status word and of MXCSR; the masks stand in the same order elsewhere. */
export const IE = 1;
export const DE = 2;
export const ZE = 4;
export const OE = 8;
export const UE = 16;
export const PE = 32;
/** Found by looking at the operands: when one of these is not masked, nothing is computed. */
export const BEFORE_COMPUTATION = IE | DE | ZE;
export const ALL_EXCEPTIONS = 0x3f;

/** Rounding control, RC (SDM 1, 4.8.4). */
export const TO_NEAREST = 0;
export const DOWN = 1;
export const UP = 2;
export const TO_ZERO = 3;

export interface Environment {
  /** RC: 0 to nearest (even), 1 down, 2 up, 3 towards zero. */
  rounding: number;
  /** Exceptions whose masked answer is wanted. */
  masks: number;
  /** Exceptions raised. */
  flags: number;
  /** The last rounding enlarged the magnitude: what the x87 tells in C1. */
  roundedUp: boolean;
  /** Of two NaNs the one with the larger significand is the answer (x87); otherwise the first operand is (SSE). */
  readonly largerNan: boolean;
  /** An unmasked overflow or underflow delivers a result with its exponent wrapped (x87 registers). */
  wrapExponent: boolean;
  /** MXCSR.FTZ: a masked underflow gives zero. */
  flushToZero: boolean;
  /** MXCSR.DAZ: a denormal operand counts as zero. */
  denormalsAreZero: boolean;
}

/** @param largerNan see Environment; it is what tells the two units apart. */
export function createEnvironment(largerNan: boolean): Environment {
  return {
    rounding: TO_NEAREST,
    masks: ALL_EXCEPTIONS,
    flags: 0,
    roundedUp: false,
    largerNan,
    wrapExponent: false,
    flushToZero: false,
    denormalsAreZero: false,
  };
}
