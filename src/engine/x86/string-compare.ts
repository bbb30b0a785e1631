/**
 * What PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM have in common (SDM 2B, 4.1), as a WebAssembly function: how the characters
 * of two strings compare, a bit for each of the second string.
 */
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

/** (first, second, immediate, length of the first, of the second: at most a register's, or IMPLICIT) -> IntRes2 and ends. */
export function compareStringsBody(): Body {
  const b = new Body(['v128', 'v128', 'i32', 'i32', 'i32'], ['i32']);
  const [immediate, firstLength, secondLength] = [2, 3, 4];
  b.get(immediate);
  b.i32(WORDS);
  b.op('i32.and');
  b.if();
  emitComparison(b, 'i16x8', 8);
  b.end();
  emitComparison(b, 'i8x16', 16);
  b.unreachable();
  return b;

  function emitComparison(body: Body, shape: 'i8x16' | 'i16x8', count: number): void {
    const all = (1 << count) - 1;
    const bits = body.local('i32');
    const i = body.local('i32');
    const valid = body.local('i32');
    const bit = (mask: number) => {
      body.get(immediate);
      body.i32(mask);
      body.op('i32.and');
    };
    /** A comparison of two v128 on the stack as bits. */
    const asBits = (comparison: string) => {
      body.op(`${shape}.${comparison}`);
      body.op(`${shape}.bitmask`);
    };
    /** Ones below a length. */
    const below = (length: number) => {
      body.i32(1);
      body.get(length);
      body.op('i32.shl');
      body.i32(1);
      body.op('i32.sub');
    };
    for (const [string, length] of [
      [0, firstLength],
      [1, secondLength],
    ] as const) {
      body.get(length);
      body.i32(IMPLICIT);
      body.op('i32.eq');
      body.if();
      body.get(string);
      body.i32(0);
      body.op(`${shape}.splat`);
      asBits('eq');
      body.i32(1 << count);
      body.op('i32.or');
      body.op('i32.ctz');
      body.set(length);
      body.end();
    }
    below(secondLength);
    body.set(valid);
    /** The first string's character `i` in every lane. */
    const splat = () => {
      // Swizzling takes lanes by bytes: of words both, one after the other.
      body.get(0);
      body.get(i);
      if (count === 8) {
        body.i32(0x0202);
        body.op('i32.mul');
        body.i32(0x0100);
        body.op('i32.add');
      }
      body.op(`${shape}.splat`);
      body.op('i8x16.swizzle');
    };
    /** For every character of the first string, or every pair: `each`. */
    const loop = (step: number, each: () => void) => {
      const out = body.block();
      const again = body.loop();
      body.get(i);
      body.i32(step - 1);
      body.op('i32.add');
      body.get(firstLength);
      body.op('i32.ge_u');
      body.brIf(out);
      each();
      body.get(i);
      body.i32(step);
      body.op('i32.add');
      body.set(i);
      body.br(again);
      body.end();
      body.end();
    };
    const set = (value: number) => {
      body.i32(value);
      body.set(bits);
    };
    body.i32(0);
    body.set(i);
    const done = body.block();
    const ordered = body.block();
    const each = body.block();
    const ranges = body.block();
    const any = body.block();
    body.get(immediate);
    body.i32(AGGREGATION_SHIFT);
    body.op('i32.shr_u');
    body.i32(3);
    body.op('i32.and');
    body.brTable([any, ranges, each], ordered);
    body.end(); // any
    set(0);
    loop(1, () => {
      body.get(1);
      splat();
      asBits('eq');
      body.get(bits);
      body.op('i32.or');
      body.set(bits);
    });
    body.get(bits);
    body.get(valid);
    body.op('i32.and');
    body.set(bits);
    body.br(done);

    body.end(); // ranges: pairs of the lowest and the highest; one without its second half is none
    set(0);
    loop(2, () => {
      const inRange = (sign: 's' | 'u') => {
        const bound = (comparison: string) => {
          body.get(1);
          splat();
          asBits(`${comparison}_${sign}`);
        };
        bound('ge');
        body.get(i);
        body.i32(1);
        body.op('i32.add');
        body.set(i);
        bound('le');
        body.get(i);
        body.i32(1);
        body.op('i32.sub');
        body.set(i);
        body.op('i32.and');
      };
      bit(SIGNED);
      body.if('i32');
      inRange('s');
      body.else();
      inRange('u');
      body.end();
      body.get(bits);
      body.op('i32.or');
      body.set(bits);
    });
    body.get(bits);
    body.get(valid);
    body.op('i32.and');
    body.set(bits);
    body.br(done);

    body.end(); // each: equal while both are there, and where neither is
    body.get(0);
    body.get(1);
    asBits('eq');
    below(firstLength);
    body.get(valid);
    body.op('i32.and');
    body.op('i32.and');
    below(firstLength);
    body.get(valid);
    body.op('i32.or');
    body.i32(all);
    body.op('i32.xor');
    body.op('i32.or');
    body.set(bits);
    body.br(done);

    body.end(); // ordered: the first string from there on, as far as the register shows it
    set(all);
    loop(1, () => {
      body.get(1);
      splat();
      asBits('eq');
      body.get(valid);
      body.op('i32.and');
      body.i32(-1 << count);
      body.op('i32.or');
      body.get(i);
      body.op('i32.shr_s');
      body.get(bits);
      body.op('i32.and');
      body.set(bits);
    });
    body.end(); // done

    bit(NEGATIVE);
    body.if();
    body.get(bits);
    body.get(valid);
    body.i32(all);
    bit(MASKED);
    body.select();
    body.op('i32.xor');
    body.set(bits);
    body.end();
    body.get(bits);
    for (const [length, at] of [
      [secondLength, SECOND_ENDS],
      [firstLength, FIRST_ENDS],
    ] as const) {
      body.get(length);
      body.i32(count);
      body.op('i32.lt_u');
      body.i32(at);
      body.op('i32.shl');
      body.op('i32.or');
    }
    body.return();
  }
}
