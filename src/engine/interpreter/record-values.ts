/** The fields of a record (record.ts) as values of the handler that executes it. */
import type { Value } from '../../wasm/expressions.ts';
import * as record from '../record.ts';
import { LOADS, type ProcessorCode } from '../x86/code.ts';
import { state } from '../x86/state.ts';

export class RecordValues {
  readonly #local: number;
  readonly #wide: boolean;

  /**
   * @param local the WebAssembly local that holds the record's address
   * @param wide code of 64-bit mode
   */
  constructor(local: number, wide: boolean) {
    this.#local = local;
    this.#wide = wide;
  }

  /** The record's address. */
  address(b: ProcessorCode): Value {
    return b.local('i32', this.#local);
  }
  /** A field of so many bits, zero-extended to 64. */
  field(b: ProcessorCode, field: number, bits: number): Value {
    return b.fetchFixed(LOADS[bits]!, this.address(b), field);
  }
  /** A field of 8 bits as an i32: a register's offset in its file, or a number. */
  byte(b: ProcessorCode, field: number): Value {
    return b.fetchFixed('i32.load8_u', this.address(b), field);
  }
  displacement(b: ProcessorCode): Value {
    return b.fetchFixed('i64.load32_s', this.address(b), record.DISPLACEMENT);
  }
  /** The 64-bit general register (or segment base, or zero) whose offset in the state a field has. */
  register(b: ProcessorCode, field: number): Value {
    return b.fetchState('i64.load', 0, this.byte(b, field), 'gpr');
  }
  /** The linear address of the instruction. */
  here(b: ProcessorCode): Value {
    return this.#wrapped(b, b.add(b.state(state.PAGE), this.field(b, record.OFFSET, 16)));
  }
  /** The linear address of the instruction after it. */
  next(b: ProcessorCode): Value {
    return this.#wrapped(b, b.add(this.here(b), this.field(b, record.LENGTH, 8)));
  }
  /** Notes in the state which record is executed: for all that may fault or stop. */
  save(b: ProcessorCode): void {
    b.setState32(state.RECORD, this.address(b));
  }
  #wrapped(b: ProcessorCode, linear: Value): Value {
    return this.#wide ? linear : b.zx(linear, 32);
  }
}
