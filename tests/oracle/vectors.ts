/**
 * The files in tests/oracle/vectors. Each is zlib-deflated and holds, for a number of table rows, cases as
 *
 *   row:   key (length, UTF-8) · number of cases · cases
 *   case:  serial · mode (0: 64-bit, 1: 32-bit, 2: 16-bit) · code (length, bytes) · where its memory operand
 *          is plus 257, or 0 · vector (255: retired) · for an exception
 *          its error code, for #PF also CR2 less the window's address · number of runs · runs
 *   run:   bytes to skip since the last run · length · the bytes
 *
 * Numbers are LEB128 (signed where said; CR2 is signed). The state before is not stored: it follows from mode and seed
 * (initial.ts), the seed from the row's key and the serial. The runs are what differs between the image afterwards and the
 * image before, with RIP moved past the instruction already where it retired.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deflateSync, inflateSync } from 'node:zlib';
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { CS, IMAGE_SIZE, MODES, type Mode, RIP, SELECTORS, WINDOW } from './layout.ts';
import { hash } from './random.ts';

/** In the sources, wherever the tests are run from. */
export const FOLDER = fileURLToPath(new URL('../../../tests/oracle/vectors', import.meta.url));
/** In place of an exception's vector: the instruction came to its end. */
export const RETIRED = 0x100;
const STORED_RETIRED = 255;
const PAGE_FAULT = 14;
/** Runs of equal bytes shorter than this are stored rather than skipped. */
const WORTH_SKIPPING = 3;
/** Targets may lie a little before the data pages. */
const TARGET_BIAS = 257;

export interface Case {
  serial: number;
  mode: Mode;
  code: Uint8Array;
  /** Where the ModRM memory operand is (offset from DATA), if there is one. */
  target: number | undefined;
  /** The exception, or RETIRED. */
  vector: number;
  errorCode: number;
  cr2: bigint;
  /** The encoded runs. */
  changes: Uint8Array;
}

/** Of general registers VEX.L and VEX.W tell nothing apart. */
function vexKey({ vex, unit }: Row): string {
  if (!vex) return '';
  return unit ? `vex${vex.l ?? ''}${vex.w === undefined ? '' : `w${vex.w}`}.` : 'vex.';
}

/** What tells a row apart from all others: `sub 29 Ev,Gv`, `movss f3:0f10 V,W` … */
export function rowKey(row: Row): string {
  const opcode = `${vexKey(row)}${row.prefix ? `${row.prefix}:` : ''}${row.opcode.toString(16).padStart(2, '0')}`;
  const extension =
    row.modrm !== undefined ? ` ${row.modrm.toString(16)}` : row.group !== undefined ? ` /${row.group}` : '';
  const form = row.form ? ` ${row.form}` : '';
  return `${row.name} ${opcode}${extension} ${row.operands}${form}${row.mode ? ` ${row.mode}` : ''}`;
}

/** The file a row's cases go to. */
export function fileOf(row: Row): string {
  const map = row.opcode > 0xffff ? row.opcode.toString(16).slice(0, 3) : row.opcode > 0xff ? 'f' : '';
  return `${row.unit ?? 'integer'}${map && `-0${map}`}`;
}

export function seedOf(key: string, mode: Mode, serial: number): number {
  return (hash(`${mode} ${key}`) + Math.imul(serial, 0x9e3779b1)) >>> 0;
}

// ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export class Writer {
  #bytes = new Uint8Array(1024);
  #length = 0;

  get bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
  byte(value: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = value;
  }
  unsigned(value: number): void {
    for (; value > 0x7f; value = Math.floor(value / 128)) this.byte((value & 0x7f) | 0x80);
    this.byte(value);
  }
  signed(value: bigint): void {
    for (; value > 63n || value < -64n; value >>= 7n) this.byte(Number(value & 0x7fn) | 0x80);
    this.byte(Number(value & 0x7fn));
  }
  all(bytes: Uint8Array): void {
    for (const byte of bytes) this.byte(byte);
  }
}

export class Reader {
  readonly #bytes: Uint8Array;
  at = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  get done(): boolean {
    return this.at >= this.#bytes.length;
  }
  byte(): number {
    const byte = this.#bytes[this.at++];
    if (byte === undefined) throw new Error('vectors: the file ends early');
    return byte;
  }
  unsigned(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }
  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(Number(shift) + 7, value);
    }
  }
  take(length: number): Uint8Array {
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }
}

// ── images and changes ──────────────────────────────────────────────────────────────────────────────────────────────

/** Moves RIP past `length` bytes of code, as wide as the code segment says. */
export function advance(view: DataView, mode: Mode, length: number): void {
  if (mode === 64) view.setBigUint64(RIP, view.getBigUint64(RIP, true) + BigInt(length), true);
  else if (mode === 32 || view.getUint16(SELECTORS + 2 * CS, true) !== 0x1f)
    view.setUint32(RIP, view.getUint32(RIP, true) + length, true);
  else view.setUint32(RIP, (view.getUint32(RIP, true) + length) & 0xffff, true);
}

/** The changes from `before` to `after`, both of IMAGE_SIZE. */
export function encodeChanges(before: Uint8Array, after: Uint8Array): Uint8Array {
  const runs: [number, number][] = [];
  for (let at = 0; at < IMAGE_SIZE; at++) {
    if (before[at] === after[at]) continue;
    const last = runs.at(-1);
    if (last && at - last[1] < WORTH_SKIPPING) last[1] = at + 1;
    else runs.push([at, at + 1]);
  }
  const out = new Writer();
  out.unsigned(runs.length);
  let position = 0;
  for (const [start, end] of runs) {
    out.unsigned(start - position);
    out.unsigned(end - start);
    out.all(after.subarray(start, end));
    position = end;
  }
  return out.bytes;
}

/** Turns the image before into the image after. */
export function applyChanges(image: Uint8Array, changes: Uint8Array): void {
  const reader = new Reader(changes);
  let position = 0;
  for (let left = reader.unsigned(); left > 0; left--) {
    position += reader.unsigned();
    const length = reader.unsigned();
    image.set(reader.take(length), position);
    position += length;
  }
}

// ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────

export type Vectors = Map<string, Case[]>;

function readCase(reader: Reader): Case {
  const serial = reader.unsigned();
  const mode = MODES[reader.byte()]!;
  const code = reader.take(reader.unsigned());
  const place = reader.unsigned();
  const stored = reader.byte();
  const vector = stored === STORED_RETIRED ? RETIRED : stored;
  const errorCode = vector === RETIRED ? 0 : reader.unsigned();
  const cr2 = vector === PAGE_FAULT ? BigInt.asUintN(64, reader.signed() + BigInt(WINDOW)) : 0n;
  const start = reader.at;
  for (let left = reader.unsigned(); left > 0; left--) {
    reader.unsigned();
    reader.take(reader.unsigned());
  }
  const end = reader.at;
  reader.at = start;
  const target = place ? place - TARGET_BIAS : undefined;
  return { serial, mode, code, target, vector, errorCode, cr2, changes: reader.take(end - start) };
}

function writeCase(out: Writer, test: Case): void {
  out.unsigned(test.serial);
  out.byte(MODES.indexOf(test.mode));
  out.unsigned(test.code.length);
  out.all(test.code);
  out.unsigned(test.target === undefined ? 0 : test.target + TARGET_BIAS);
  out.byte(test.vector === RETIRED ? STORED_RETIRED : test.vector);
  if (test.vector !== RETIRED) out.unsigned(test.errorCode);
  if (test.vector === PAGE_FAULT) out.signed(BigInt.asIntN(64, test.cr2 - BigInt(WINDOW)));
  out.all(test.changes);
}

/** All cases of all files. */
export function readVectors(folder = FOLDER): Vectors {
  const vectors: Vectors = new Map();
  if (!existsSync(folder)) return vectors;
  for (const name of readdirSync(folder).sort()) {
    const reader = new Reader(inflateSync(readFileSync(join(folder, name))));
    while (!reader.done) {
      const key = new TextDecoder().decode(reader.take(reader.unsigned()));
      const cases: Case[] = [];
      for (let left = reader.unsigned(); left > 0; left--) cases.push(readCase(reader));
      vectors.set(key, cases);
    }
  }
  return vectors;
}

/** Writes the cases of the rows that `rows` still has, a file for each of fileOf's names; others go. */
export function writeVectors(vectors: Vectors, rows: readonly Row[], folder = FOLDER): void {
  mkdirSync(folder, { recursive: true });
  const files = new Map<string, Writer>();
  for (const row of rows) {
    const key = rowKey(row);
    const cases = vectors.get(key);
    if (!cases?.length) continue;
    const name = `${fileOf(row)}.bin`;
    const out = files.get(name) ?? new Writer();
    files.set(name, out);
    const bytes = new TextEncoder().encode(key);
    out.unsigned(bytes.length);
    out.all(bytes);
    out.unsigned(cases.length);
    for (const test of cases) writeCase(out, test);
  }
  for (const old of readdirSync(folder)) if (!files.has(old)) rmSync(join(folder, old));
  for (const [name, out] of files) writeFileSync(join(folder, name), deflateSync(out.bytes, { level: 9 }));
}
