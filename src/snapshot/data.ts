/**
 * State (src/state/) as bytes. A value is a byte that says what it is, then its content; counts are LEB128 numbers of
 * bytes or members, other numbers are little-endian. docs/snapshot-format.md has the table.
 */
import type { Data } from '../state/state.ts';
import { SnapshotError } from './snapshot-error.ts';

const UNDEFINED = 0;
const FALSE = 1;
const TRUE = 2;
/** A double. */
const NUMBER = 3;
/** A number from 0 to 2^32-1 as LEB128. */
const COUNT = 4;
/** Sign and magnitude: a byte (1: negative), a count, and so many bytes. */
const BIGINT = 5;
/** UTF-8. */
const STRING = 6;
const ARRAY = 7;
const MAP = 8;
const SET = 9;
/** Names are strings without their leading byte. */
const OBJECT = 10;
/** From here on: typed arrays, in the order of TYPED. */
const FIRST_TYPED = 16;
const TYPED = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
] as const;
type TypedArray = InstanceType<(typeof TYPED)[number]>;

/** Deeper than any state (src/state/state.ts has 32). */
const NESTING_LIMIT = 40;

export function encodeData(value: Data): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  writer.value(value);
  return writer.bytes();
}

/** @throws SnapshotError if `bytes` are not one value and nothing else */
export function decodeData(bytes: Uint8Array): Data {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (!reader.atEnd) throw new SnapshotError('there is more after the last state');
  return value;
}

class Writer {
  #bytes = new Uint8Array(1 << 16);
  #length = 0;

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }
  #room(length: number): number {
    const at = this.#length;
    if (at + length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(at + length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#length = at + length;
    return at;
  }
  #byte(value: number): void {
    const at = this.#room(1);
    this.#bytes[at] = value;
  }
  #raw(bytes: Uint8Array): void {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }
  #count(value: number): void {
    for (; value >= 0x80; value = Math.floor(value / 0x80)) this.#byte((value % 0x80) | 0x80);
    this.#byte(value);
  }
  #text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.#count(bytes.length);
    this.#raw(bytes);
  }

  value(value: Data): void {
    if (value === undefined) return this.#byte(UNDEFINED);
    if (typeof value === 'boolean') return this.#byte(value ? TRUE : FALSE);
    if (typeof value === 'number') return this.#number(value);
    if (typeof value === 'bigint') return this.#bigint(value);
    if (typeof value === 'string') {
      this.#byte(STRING);
      return this.#text(value);
    }
    if (Array.isArray(value)) return this.#members(ARRAY, value.length, value);
    if (value instanceof Set) return this.#members(SET, value.size, value);
    if (value instanceof Map) return this.#members(MAP, value.size, [...value].flat(1) as Data[]);
    if (ArrayBuffer.isView(value)) return this.#typed(value as TypedArray);
    const entries = Object.entries(value as { readonly [name: string]: Data });
    this.#byte(OBJECT);
    this.#count(entries.length);
    for (const [name, member] of entries) {
      this.#text(name);
      this.value(member);
    }
  }
  #members(kind: number, count: number, members: Iterable<Data>): void {
    this.#byte(kind);
    this.#count(count);
    for (const member of members) this.value(member);
  }
  #number(value: number): void {
    if (value >>> 0 === value && !Object.is(value, -0)) {
      this.#byte(COUNT);
      return this.#count(value);
    }
    this.#byte(NUMBER);
    const at = this.#room(8);
    new DataView(this.#bytes.buffer).setFloat64(at, value, true);
  }
  #bigint(value: bigint): void {
    const bytes: number[] = [];
    for (let rest = value < 0n ? -value : value; rest > 0n; rest >>= 8n) bytes.push(Number(rest & 0xffn));
    this.#byte(BIGINT);
    this.#byte(value < 0n ? 1 : 0);
    this.#count(bytes.length);
    this.#raw(Uint8Array.from(bytes));
  }
  #typed(value: TypedArray): void {
    const kind = TYPED.indexOf(value.constructor as (typeof TYPED)[number]);
    if (kind < 0) throw new Error(`${value.constructor.name} is not data`);
    this.#byte(FIRST_TYPED + kind);
    this.#count(value.length);
    this.#raw(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  }
}

/** Reads what may come from anywhere: nothing is allocated that the input has no bytes for. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    // Of Node's Buffer, which may come in, `slice` is no copy.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }
  #take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw new SnapshotError('a state ends too early');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
  #byte(): number {
    return this.#take(1)[0]!;
  }
  #count(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 28; scale *= 0x80) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80 && value < 2 ** 32) return value;
      if (byte < 0x80) break;
    }
    throw new SnapshotError('a count in a state is no number of 32 bits');
  }
  /** How many members follow, each of a byte at least. */
  #members(): number {
    const count = this.#count();
    if (count > this.#bytes.length - this.#at) throw new SnapshotError('a state has fewer members than it says');
    return count;
  }
  #text(): string {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.#take(this.#count()));
    } catch (error) {
      if (error instanceof SnapshotError) throw error;
      throw new SnapshotError('a text in a state is not UTF-8');
    }
  }

  value(depth: number): Data {
    if (depth > NESTING_LIMIT) throw new SnapshotError(`a state is nested more than ${NESTING_LIMIT} deep`);
    const kind = this.#byte();
    switch (kind) {
      case UNDEFINED:
        return undefined;
      case FALSE:
      case TRUE:
        return kind === TRUE;
      case NUMBER: {
        const bytes = this.#take(8);
        return new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0, true);
      }
      case COUNT:
        return this.#count();
      case BIGINT:
        return this.#bigint();
      case STRING:
        return this.#text();
      case ARRAY:
        return Array.from({ length: this.#members() }, () => this.value(depth + 1));
      case SET: {
        const set = new Set<Data>();
        for (let left = this.#members(); left > 0; left--) set.add(this.value(depth + 1));
        return set;
      }
      case MAP: {
        const map = new Map<Data, Data>();
        for (let left = this.#members(); left > 0; left--) {
          const key = this.value(depth + 1);
          map.set(key, this.value(depth + 1));
        }
        return map;
      }
      case OBJECT:
        return this.#object(depth);
      default:
        return this.#typed(kind);
    }
  }
  #bigint(): bigint {
    const negative = this.#byte() !== 0;
    const bytes = this.#take(this.#members());
    if (bytes.length > 64) throw new SnapshotError('an integer in a state has more than 512 bits');
    let value = 0n;
    for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
    return negative ? -value : value;
  }
  #object(depth: number): Data {
    const members: [name: string, value: Data][] = [];
    for (let left = this.#members(); left > 0; left--) {
      const name = this.#text();
      if (name === '__proto__') throw new SnapshotError('a state has a member __proto__');
      members.push([name, this.value(depth + 1)]);
    }
    return Object.fromEntries(members);
  }
  #typed(kind: number): Data {
    const type = TYPED[kind - FIRST_TYPED];
    if (!type) throw new SnapshotError(`a state has a value of the unknown kind ${kind}`);
    const length = this.#count();
    const copy = this.#take(length * type.BYTES_PER_ELEMENT).slice();
    return new type(copy.buffer, 0, length);
  }
}
