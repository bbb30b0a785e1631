/**
 * From an SSE row's meaning to that of its VEX forms (SDM 2A 2.3; SDM 1, 14.1): the first source is an operand of its own, and 256 bits
 * are two lanes of 128 in which the same is done.
 */
import type { Variable } from '../../../wasm/code.ts';
import type { Builder, Value } from '../builder.ts';
import { BaseOperand, ValueOperand } from '../operand.ts';
import { state } from '../state.ts';
import type { Lanes, ListMeaning, Meaning, Operand } from './row.ts';
import { high, low, pair } from './vector.ts';

/** An operand that is read in one place and written in another. */
class Split extends BaseOperand {
  readonly kind = 'register';
  readonly #to: Operand;
  readonly #from: Operand;
  constructor(to: Operand, from: Operand) {
    super(from.bits);
    this.#to = to;
    this.#from = from;
  }
  override get(): Value {
    return this.#from.get();
  }
  override set(value: Value): void {
    this.#to.set(value);
  }
  override isDenormalFree(lanes: Lanes): boolean {
    return this.#from.isDenormalFree(lanes);
  }
  override setDenormalFree(lanes: Lanes): void {
    this.#to.setDenormalFree(lanes);
  }
}

/** One lane of an operand: its value, and where a result waits for the other lane's. */
class Lane extends BaseOperand {
  readonly kind = 'register';
  readonly #value: Value | undefined;
  readonly #result: Variable | undefined;
  constructor(bits: number, value: Value | undefined, result?: Variable) {
    super(bits);
    this.#value = value;
    this.#result = result;
  }
  override get(): Value {
    return this.#value ?? super.get();
  }
  override set(value: Value): void {
    if (!this.#result) return super.set(value);
    this.#result.set(value);
  }
}

/** dst = operation(first, …): the SSE row has one operand for the first two. */
export const nonDestructive =
  (meaning: Meaning): Meaning =>
  (b, dst, first, ...others) =>
    (meaning as ListMeaning)(b, new Split(dst, first), ...others);

/** What a lane of an SSE row gets of a source: its own lane, its own half of fewer bits, or all of it. */
export type Share = 'lane' | 'half' | 'all';

function shareOf(b: Builder, source: Operand, share: Share, upperImmediate: number): [Operand, Operand] {
  if (source.kind === 'immediate')
    return [source, new ValueOperand(source.bits, () => b.shr(source.get(), b.const(upperImmediate)))];
  if (share === 'all') return [source, source];
  if (share === 'lane') {
    const [lower, upper] = source.lanes();
    return [new Lane(128, lower), new Lane(128, upper)];
  }
  const bits = source.bits / 2;
  const value = source.get();
  if (bits === 64) return [new Lane(64, low(b, value)), new Lane(64, high(b, value))];
  return [new Lane(bits, b.zx(value, bits)), new Lane(bits, b.shr(value, b.const(bits)))];
}

export interface LaneTraits {
  /** A first source stands before the others. */
  first: boolean;
  /** Of the last vector source; default: its own lane. */
  share?: Share;
  /** The upper lane's bits of an immediate start here. Default: it has the same as the lower one. */
  upperImmediate?: number | undefined;
  /** It may raise floating-point exceptions: those of both lanes come together. */
  floats: boolean;
}

/** The results of an SSE row's meaning in both lanes. */
function resultsOf(b: Builder, dst: Operand, sources: Operand[], meaning: Meaning, traits: LaneTraits): [Value, Value] {
  const { first, share = 'lane', upperImmediate = 0, floats } = traits;
  const own = first ? sources.shift()! : dst;
  const old: readonly (Value | undefined)[] = own.bits === 256 ? own.lanes() : [];
  const shares = sources.map(source => shareOf(b, source, source.bits === 256 ? 'lane' : share, upperImmediate));
  const results = [0, 1].map(i => {
    b.floatLane = i ? 2 : 1;
    const result = b.unset('v128');
    (meaning as ListMeaning)(b, new Lane(128, old[i], result), ...shares.map(each => each[i]!));
    b.floatLane = 0;
    return result;
  });
  if (floats) b.when(b.state32(state.FLOAT_PENDING), () => void b.helper('float_pending'));
  return [results[0]!.get(), results[1]!.get()];
}

/** The SSE row's meaning in both lanes of 256 bits. */
export const inLanes =
  (meaning: Meaning, traits: LaneTraits): Meaning =>
  (b, dst, ...sources) =>
    dst.setLanes(resultsOf(b, dst, sources, meaning, traits));

/** The same where a lane's result is 64 bits: both go to a register of 128. */
export const narrowedInLanes =
  (meaning: Meaning): Meaning =>
  (b, dst, ...sources) => {
    const [lower, upper] = resultsOf(b, dst, sources, meaning, { first: false, floats: true });
    dst.set(pair(b, low(b, lower), low(b, upper)));
  };
