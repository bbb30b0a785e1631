/**
 * What PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM have in common (SDM 2B, 4.1), as a WebAssembly function: how the
 * characters of two strings compare, a bit for each of the second string.
 */
import { Code, type Value } from '../../wasm/code.ts';
import { Body } from '../../wasm/module.ts';

/** Immediate bits 1-0: words rather than bytes; signed. */
const WORDS = 1;
const SIGNED = 2;
/** Bits 3-2: what makes a character count: being in a set, in ranges, the same, or the start of a whole string. */
const AGGREGATION_SHIFT = 2;
/** Bit 4 inverts; with bit 5 only the characters there are. */
const NEGATIVE = 0x10;
const MASKED = 0x20;

/** In the answer, above IntRes2's bits: the second and the first string end within the register (ZF and SF). */
export const SECOND_ENDS = 16;
export const FIRST_ENDS = 17;

/** A length that is not given: the string ends at a zero. */
export const IMPLICIT = -1;

/**
 * (first, second, immediate, length of the first, of the second: at most a register's, or IMPLICIT) -> IntRes2 and
 * ends.
 */
export function compareStringsBody(): Body {
  const b = new Code(new Body(['v128', 'v128', 'i32', 'i32', 'i32'], ['i32']));
  const [first, second, immediate, ...lengths] = b.parameters(5);
  const compare = (shape: 'i8x16' | 'i16x8') => {
    const { ends, result } = new Comparison(b, shape, { first, second, immediate, lengths }).make();
    b.answer(b.or(result, ends));
  };
  b.when(
    b.and(immediate, WORDS),
    () => compare('i16x8'),
    () => compare('i8x16'),
  );
  return b.complete();
}

interface Strings {
  first: Value;
  second: Value;
  immediate: Value;
  lengths: readonly [first: Value, second: Value];
}

/** Code for characters of one size. */
class Comparison {
  readonly #b: Code;
  readonly #shape: 'i8x16' | 'i16x8';
  readonly #count: number;
  readonly #strings: Strings;
  readonly #firstLength: Value;
  readonly #secondLength: Value;
  /** A bit for each character that the second string has. */
  readonly #valid: Value;

  constructor(b: Code, shape: 'i8x16' | 'i16x8', strings: Strings) {
    this.#b = b;
    this.#shape = shape;
    this.#count = shape === 'i8x16' ? 16 : 8;
    this.#strings = strings;
    this.#firstLength = this.#length(strings.first, strings.lengths[0]);
    this.#secondLength = this.#length(strings.second, strings.lengths[1]);
    this.#valid = this.#below(this.#secondLength);
  }

  make(): { result: Value; ends: Value } {
    const b = this.#b;
    const { immediate } = this.#strings;
    const all = (1 << this.#count) - 1;
    const result = b.variable(b.i32(0));
    b.switch(
      b.and(b.shr(immediate, AGGREGATION_SHIFT), 3),
      [
        () => result.set(b.and(this.#inSet(), this.#valid)),
        () => result.set(b.and(this.#inRanges(), this.#valid)),
        () => result.set(this.#same(all)),
      ],
      () => result.set(this.#starts(all)),
    );
    b.when(b.and(immediate, NEGATIVE), () => {
      const inverted = b.select(b.and(immediate, MASKED), this.#valid, all);
      result.set(b.xor(result.get(), inverted));
    });
    const endsAt = (length: Value, bit: number) => b.shl(b.ltu(length, this.#count), bit);
    return {
      result: result.get(),
      ends: b.or(endsAt(this.#secondLength, SECOND_ENDS), endsAt(this.#firstLength, FIRST_ENDS)),
    };
  }

  /** A bit for each character: those of the second string that are among the first's. */
  #inSet(): Value {
    return this.#eachOfFirst(1, 0, (i, bits) => this.#b.or(bits, this.#bits('eq', this.#character(i))));
  }
  /** Those within a range: pairs of the lowest and the highest; one without its second half is no range. */
  #inRanges(): Value {
    const b = this.#b;
    return this.#eachOfFirst(2, 0, (i, bits) => {
      const inRange = (sign: 's' | 'u') => () =>
        b.and(this.#bits(`ge_${sign}`, this.#character(i)), this.#bits(`le_${sign}`, this.#character(b.add(i, 1))));
      return b.or(bits, b.choose(b.and(this.#strings.immediate, SIGNED), inRange('s'), inRange('u')));
    });
  }
  /** Those equal to the first string's in their place while both have one, and all where neither has. */
  #same(all: number): Value {
    const b = this.#b;
    const firstValid = this.#below(this.#firstLength);
    const equal = b.and(this.#bits('eq', this.#strings.first), b.and(firstValid, this.#valid));
    return b.or(equal, b.xor(b.or(firstValid, this.#valid), all));
  }
  /** Those where the whole first string starts, as far as the register shows it. */
  #starts(all: number): Value {
    const b = this.#b;
    return this.#eachOfFirst(1, all, (i, bits) => {
      const equal = b.and(this.#bits('eq', this.#character(i)), this.#valid);
      return b.and(bits, b.sar(b.or(equal, -1 << this.#count), i));
    });
  }

  /** For every character of the first string, or every pair: the bits so far become `turn`'s. */
  #eachOfFirst(step: number, start: number, turn: (i: Value, bits: Value) => Value): Value {
    const b = this.#b;
    const bits = b.variable(b.i32(start));
    const i = b.variable(b.i32(0));
    b.while(
      () => b.ltu(b.add(i.get(), step - 1), this.#firstLength),
      () => {
        bits.set(turn(i.get(), bits.get()));
        i.add(step);
      },
    );
    return bits.get();
  }
  /** How the second string's characters compare with those of `other`. */
  #bits(comparison: string, other: Value): Value {
    return this.#mask(comparison, this.#strings.second, other);
  }
  #mask(comparison: string, x: Value, y: Value): Value {
    return this.#b.wasm(`${this.#shape}.bitmask`, this.#b.wasm(`${this.#shape}.${comparison}`, x, y));
  }
  /**
   * The first string's character `i` in every lane. Swizzling takes lanes by bytes: of words both, one after the other.
   */
  #character(i: Value): Value {
    const b = this.#b;
    const bytes = this.#shape === 'i8x16' ? i : b.add(b.mul(i, 0x0202), 0x0100);
    return b.wasm('i8x16.swizzle', this.#strings.first, this.#splat(bytes));
  }
  #splat(x: Value): Value {
    return this.#b.wasm(`${this.#shape}.splat`, x);
  }
  #length(string: Value, given: Value): Value {
    const b = this.#b;
    const zeros = () => this.#mask('eq', string, this.#splat(b.i32(0)));
    return b.choose(
      b.eq(given, IMPLICIT),
      () => b.wasm('i32.ctz', b.or(zeros(), 1 << this.#count)),
      () => given,
    );
  }
  /** Ones below a length. */
  #below(length: Value): Value {
    return this.#b.sub(this.#b.shl(1, length), 1);
  }
}
