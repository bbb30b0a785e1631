/** Our own small WebAssembly assembler: modules and function bodies as bytes (WebAssembly Core Specification 2.0, 5). */
import { opcodes, type ValueType } from './opcodes.ts';

const TYPE_BYTE: Record<ValueType, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

/** A growing array of bytes with the format's number encodings. */
export class Bytes {
  data = new Uint8Array(256);
  length = 0;

  byte(value: number): void {
    if (this.length === this.data.length) this.#grow(1);
    this.data[this.length++] = value;
  }
  append(bytes: Uint8Array | readonly number[]): void {
    if (this.length + bytes.length > this.data.length) this.#grow(bytes.length);
    // Opcodes are one or two bytes: a call costs more than they do.
    if (bytes.length < 4) for (let i = 0; i < bytes.length; i++) this.data[this.length + i] = bytes[i]!;
    else this.data.set(bytes, this.length);
    this.length += bytes.length;
  }
  /** Unsigned LEB128 of a number up to 2^32 - 1. */
  u32(value: number): void {
    value >>>= 0;
    while (value > 0x7f) {
      this.byte((value & 0x7f) | 0x80);
      value >>>= 7;
    }
    this.byte(value);
  }
  /** Signed LEB128 of a 32-bit number. */
  i32(value: number): void {
    value |= 0;
    for (;;) {
      const low = value & 0x7f;
      value >>= 7;
      if ((value === 0 && !(low & 0x40)) || (value === -1 && low & 0x40)) return this.byte(low);
      this.byte(low | 0x80);
    }
  }
  /** Signed LEB128 of a 64-bit number. */
  i64(value: bigint): void {
    value = BigInt.asIntN(64, value);
    if (value >= -0x80000000n && value <= 0x7fffffffn) return this.i32(Number(value));
    for (;;) {
      const low = Number(value & 0x7fn);
      value >>= 7n;
      if ((value === 0n && !(low & 0x40)) || (value === -1n && low & 0x40)) return this.byte(low);
      this.byte(low | 0x80);
    }
  }
  name(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u32(bytes.length);
    this.append(bytes);
  }
  take(): Uint8Array<ArrayBuffer> {
    return this.data.slice(0, this.length);
  }
  #grow(more: number): void {
    const larger = new Uint8Array(Math.max(this.data.length * 2, this.length + more));
    larger.set(this.data.subarray(0, this.length));
    this.data = larger;
  }
}

/** One function's body. Instructions that take immediates have methods; all others go through `op`. */
export class Body {
  readonly code = new Bytes();
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly #locals: ValueType[] = [];
  /** Open blocks, so that a branch can be given as the block it leaves. */
  depth = 0;

  constructor(parameters: readonly ValueType[], results: readonly ValueType[]) {
    this.parameters = parameters;
    this.results = results;
  }

  local(type: ValueType): number {
    return this.parameters.length + this.#locals.push(type) - 1;
  }
  op(name: string): void {
    const opcode = opcodes.get(name);
    if (!opcode || opcode.memory || opcode.lane) throw new Error(`wasm: no plain instruction ${name}`);
    this.code.append(opcode.code);
  }
  lane(name: string, lane: number): void {
    const opcode = opcodes.get(name);
    if (!opcode?.lane) throw new Error(`wasm: no lane instruction ${name}`);
    this.code.append(opcode.code);
    this.code.byte(lane);
  }
  /** A load or store at the address on the stack plus `offset`. Alignment is a hint: always given as 1 byte. */
  memory(name: string, offset: number): void {
    const opcode = opcodes.get(name);
    if (!opcode?.memory) throw new Error(`wasm: no memory instruction ${name}`);
    this.code.append(opcode.code);
    this.code.byte(0);
    this.code.u32(offset);
  }
  i32(value: number): void {
    this.code.byte(0x41);
    this.code.i32(value);
  }
  i64(value: bigint): void {
    this.code.byte(0x42);
    this.code.i64(value);
  }
  f32(value: number): void {
    this.code.byte(0x43);
    this.code.append(new Uint8Array(new Float32Array([value]).buffer));
  }
  f64(value: number): void {
    this.code.byte(0x44);
    this.code.append(new Uint8Array(new Float64Array([value]).buffer));
  }
  v128(bytes: Uint8Array): void {
    this.code.append([0xfd, 12]);
    this.code.append(bytes);
  }
  /** i8x16.shuffle: byte i of the result is byte lanes[i] of the two operands laid end to end. */
  shuffle(lanes: readonly number[]): void {
    this.code.append([0xfd, 13]);
    this.code.append(lanes);
  }
  get(local: number): void {
    this.code.byte(0x20);
    this.code.u32(local);
  }
  set(local: number): void {
    this.code.byte(0x21);
    this.code.u32(local);
  }
  tee(local: number): void {
    this.code.byte(0x22);
    this.code.u32(local);
  }
  /** Opens a block and returns its label for `br`. */
  block(result?: ValueType): number {
    return this.#open(0x02, result);
  }
  loop(): number {
    return this.#open(0x03, undefined);
  }
  if(result?: ValueType): number {
    return this.#open(0x04, result);
  }
  else(): void {
    this.code.byte(0x05);
  }
  end(): void {
    this.depth--;
    this.code.byte(0x0b);
  }
  br(label: number): void {
    this.code.byte(0x0c);
    this.code.u32(this.depth - label);
  }
  brIf(label: number): void {
    this.code.byte(0x0d);
    this.code.u32(this.depth - label);
  }
  brTable(labels: readonly number[], otherwise: number): void {
    this.code.byte(0x0e);
    this.code.u32(labels.length);
    for (const label of labels) this.code.u32(this.depth - label);
    this.code.u32(this.depth - otherwise);
  }
  call(fn: number): void {
    this.code.byte(0x10);
    this.code.u32(fn);
  }
  callIndirect(type: number, table = 0): void {
    this.code.byte(0x11);
    this.code.u32(type);
    this.code.u32(table);
  }
  returnCall(fn: number): void {
    this.code.byte(0x12);
    this.code.u32(fn);
  }
  returnCallIndirect(type: number, table = 0): void {
    this.code.byte(0x13);
    this.code.u32(type);
    this.code.u32(table);
  }
  return(): void {
    this.code.byte(0x0f);
  }
  drop(): void {
    this.code.byte(0x1a);
  }
  select(): void {
    this.code.byte(0x1b);
  }
  unreachable(): void {
    this.code.byte(0x00);
  }
  /** memory.copy / memory.fill of memory 0. */
  memoryCopy(): void {
    this.code.append([0xfc, 10, 0, 0]);
  }
  memoryFill(): void {
    this.code.append([0xfc, 11, 0]);
  }

  #open(code: number, result: ValueType | undefined): number {
    this.code.byte(code);
    this.code.byte(result ? TYPE_BYTE[result] : 0x40);
    return ++this.depth;
  }

  /** Puts the code that `emit` adds in front of what there is. Labels are relative, so nothing else changes. */
  prepend(emit: () => void): void {
    const rest = this.code.take();
    this.code.length = 0;
    emit();
    this.code.append(rest);
  }

  /** The body with its locals, ready for the code section. */
  encode(): Uint8Array {
    const head = new Bytes();
    const runs: [number, ValueType][] = [];
    for (const type of this.#locals) {
      const last = runs.at(-1);
      if (last && last[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    head.u32(runs.length);
    for (const [count, type] of runs) {
      head.u32(count);
      head.byte(TYPE_BYTE[type]);
    }
    head.append(this.code.data.subarray(0, this.code.length));
    head.byte(0x0b);
    return head.take();
  }
}

interface Import {
  module: string;
  name: string;
  type: number;
}

/** A module: imports a memory and functions, defines functions, may import or define a table. */
export class Module {
  readonly #types: string[] = [];
  readonly #typeBytes: Uint8Array[] = [];
  readonly #imports: Import[] = [];
  readonly #functions: { body: Body | Uint8Array; type: number; name?: string }[] = [];
  #table: { module: string; name: string } | number | undefined;
  #elements: number[] = [];
  readonly #memoryPages: number;
  readonly #shared: boolean;

  /** @param memoryPages the imported memory's minimum, in 64 KiB pages. */
  constructor(memoryPages = 1, shared = false) {
    this.#memoryPages = memoryPages;
    this.#shared = shared;
  }

  type(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${parameters}>${results}`;
    const known = this.#types.indexOf(key);
    if (known >= 0) return known;
    const bytes = new Bytes();
    bytes.byte(0x60);
    bytes.u32(parameters.length);
    for (const type of parameters) bytes.byte(TYPE_BYTE[type]);
    bytes.u32(results.length);
    for (const type of results) bytes.byte(TYPE_BYTE[type]);
    this.#typeBytes.push(bytes.take());
    return this.#types.push(key) - 1;
  }
  /** All imports come before the first function. */
  import(module: string, name: string, parameters: readonly ValueType[], results: readonly ValueType[]): number {
    if (this.#functions.length) throw new Error('wasm: import after function');
    return this.#imports.push({ module, name, type: this.type(parameters, results) }) - 1;
  }
  function(body: Body, exportName?: string): number {
    const type = this.type(body.parameters, body.results);
    return this.#imports.length + this.#functions.push({ body, type, name: exportName }) - 1;
  }
  /** A function whose body is bytes already (Body.encode of an earlier module with the same imports and functions before it). */
  encoded(
    body: Uint8Array,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
    exportName: string,
  ): number {
    const type = this.type(parameters, results);
    return this.#imports.length + this.#functions.push({ body, type, name: exportName }) - 1;
  }
  importTable(module: string, name: string): void {
    this.#table = { module, name };
  }
  /** A table of this module's own, filled with `elements` (function indices) and exported as `table`. */
  defineTable(elements: number[]): void {
    this.#table = elements.length;
    this.#elements = elements;
  }

  encode(): Uint8Array<ArrayBuffer> {
    const out = new Bytes();
    out.append([0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const section = (id: number, fill: (bytes: Bytes) => void) => {
      const bytes = new Bytes();
      fill(bytes);
      out.byte(id);
      out.u32(bytes.length);
      out.append(bytes.data.subarray(0, bytes.length));
    };
    section(1, b => {
      b.u32(this.#typeBytes.length);
      for (const type of this.#typeBytes) b.append(type);
    });
    section(2, b => {
      const table = typeof this.#table === 'object' ? this.#table : undefined;
      b.u32(this.#imports.length + 1 + (table ? 1 : 0));
      b.name('env');
      b.name('memory');
      b.byte(0x02);
      b.byte(this.#shared ? 0x03 : 0x00);
      b.u32(this.#memoryPages);
      if (this.#shared) b.u32(65536);
      if (table) {
        b.name(table.module);
        b.name(table.name);
        b.append([0x01, 0x70, 0x00, 0x00]);
      }
      for (const { module, name, type } of this.#imports) {
        b.name(module);
        b.name(name);
        b.byte(0x00);
        b.u32(type);
      }
    });
    section(3, b => {
      b.u32(this.#functions.length);
      for (const { type } of this.#functions) b.u32(type);
    });
    const size = typeof this.#table === 'number' ? this.#table : undefined;
    if (size !== undefined)
      section(4, b => {
        b.append([1, 0x70, 0x00]);
        b.u32(size);
      });
    section(7, b => {
      const exported = this.#functions.flatMap((fn, index) => (fn.name ? [{ name: fn.name, index }] : []));
      b.u32(exported.length + (size !== undefined ? 1 : 0));
      for (const { name, index } of exported) {
        b.name(name);
        b.byte(0x00);
        b.u32(this.#imports.length + index);
      }
      if (size !== undefined) {
        b.name('table');
        b.append([0x01, 0]);
      }
    });
    if (size !== undefined)
      section(9, b => {
        b.append([1, 0x00, 0x41, 0, 0x0b]);
        b.u32(this.#elements.length);
        for (const element of this.#elements) b.u32(element);
      });
    section(10, b => {
      b.u32(this.#functions.length);
      for (const { body } of this.#functions) {
        const bytes = body instanceof Body ? body.encode() : body;
        b.u32(bytes.length);
        b.append(bytes);
      }
    });
    return out.take();
  }
}
