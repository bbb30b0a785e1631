/**
 * Structures of hypercall arguments, declared field by field as Xen's public headers do and laid out by the C rules of
 * the caller: 64-bit guests and 32-bit ones (PVH in protected mode) pass the same declarations with different offsets.
 */

/**
 * `ulong` and `handle` (a guest pointer) are as wide as the caller; u64 is aligned to 4 for a 32-bit one. `end` has no
 * value: an inner structure that begins with a ulong ends there, padded to its alignment.
 */
export type FieldKind = 'u8' | 'u16' | 's16' | 'u32' | 'u64' | 'ulong' | 'handle' | 'end';

export type Fields = Readonly<Record<string, FieldKind>>;

/** The value of a field: bigint where it may exceed 32 bits. */
type FieldValue<K extends FieldKind> = K extends 'u64' | 'ulong' | 'handle'
  ? bigint
  : K extends 'end'
    ? undefined
    : number;
export type Values<F extends Fields> = { [N in keyof F]: FieldValue<F[N]> };

interface Placed {
  name: string;
  kind: FieldKind;
  offset: number;
  size: number;
}

/** A structure as one width of guest lays it out. */
export interface Layout<F extends Fields> {
  readonly size: number;
  offset(name: keyof F): number;
  decode(bytes: Uint8Array): Values<F>;
  /** Stores the fields given over `bytes`; the others stay. */
  encode(bytes: Uint8Array, values: Partial<Values<F>>): void;
}

export interface Structure<F extends Fields> {
  readonly 32: Layout<F>;
  readonly 64: Layout<F>;
}

export function structure<F extends Fields>(fields: F): Structure<F> {
  return { 32: layOut(fields, 32), 64: layOut(fields, 64) };
}

const sizes: Record<Exclude<FieldKind, 'end'>, number> = { u8: 1, u16: 2, s16: 2, u32: 4, u64: 8, ulong: 0, handle: 0 };

function layOut<F extends Fields>(fields: F, width: 32 | 64): Layout<F> {
  const long = width / 8;
  const placed: Placed[] = [];
  let end = 0;
  let alignment = 1;
  for (const [name, kind] of Object.entries(fields)) {
    if (kind === 'end') {
      end = Math.ceil(end / long) * long;
      continue;
    }
    const size = sizes[kind] || long;
    const align = Math.min(size, long);
    const offset = Math.ceil(end / align) * align;
    placed.push({ name, kind, offset, size });
    end = offset + size;
    alignment = Math.max(alignment, align);
  }
  const size = Math.ceil(end / alignment) * alignment;
  return {
    size,
    offset: name => placed.find(field => field.name === name)!.offset,
    decode(bytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, size);
      const values: Record<string, number | bigint> = {};
      for (const field of placed) values[field.name] = load(view, field);
      return values as Values<F>;
    },
    encode(bytes, values) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, size);
      for (const field of placed) {
        const value = values[field.name];
        if (value !== undefined) store(view, field, value);
      }
    },
  };
}

function load(view: DataView, field: Placed): number | bigint {
  switch (field.kind) {
    case 'u8':
      return view.getUint8(field.offset);
    case 'u16':
      return view.getUint16(field.offset, true);
    case 's16':
      return view.getInt16(field.offset, true);
    case 'u32':
      return view.getUint32(field.offset, true);
    default:
      return field.size === 8 ? view.getBigUint64(field.offset, true) : BigInt(view.getUint32(field.offset, true));
  }
}

function store(view: DataView, field: Placed, value: number | bigint): void {
  if (field.size === 8) view.setBigUint64(field.offset, BigInt.asUintN(64, BigInt(value)), true);
  else if (field.size === 4) view.setUint32(field.offset, Number(BigInt.asUintN(32, BigInt(value))), true);
  else if (field.size === 2) view.setUint16(field.offset, Number(value) & 0xffff, true);
  else view.setUint8(field.offset, Number(value) & 0xff);
}

/** An array of C longs, such as the frame numbers that a hypercall names. */
export function longs(bytes: Uint8Array, width: 32 | 64): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = width / 8;
  // A number that a double cannot hold exactly names nothing either.
  const long = (at: number) => (size === 8 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
  return Array.from({ length: bytes.length / size }, (_, i) => long(size * i));
}

/** The bytes of such an array. */
export function longBytes(values: readonly number[], width: 32 | 64): Uint8Array {
  const size = width / 8;
  const bytes = new Uint8Array(size * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries())
    if (size === 8) view.setBigUint64(8 * i, BigInt(value), true);
    else view.setUint32(4 * i, value, true);
  return bytes;
}
