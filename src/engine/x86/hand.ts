/** Writing WebAssembly by hand where a meaning's vocabulary (builder.ts) would be too coarse. */
import { Body } from '../../wasm/module.ts';
import * as state from './state.ts';

const { STATE } = state;

/** Small conveniences over Body for hand-written functions. */
export class Hand extends Body {
  readonly state32 = (offset: number) => {
    this.i32(0);
    this.memory('i32.load', STATE + offset);
  };
  readonly state64 = (offset: number) => {
    this.i32(0);
    this.memory('i64.load', STATE + offset);
  };
  /** True (i32) if any bit of `mask` is set in a 32-bit state field. */
  readonly flag = (offset: number, mask: number) => {
    this.state32(offset);
    this.i32(mask);
    this.op('i32.and');
    this.i32(0);
    this.op('i32.ne');
  };
  readonly setState32 = (offset: number, value: () => void) => {
    this.i32(0);
    value();
    this.memory('i32.store', STATE + offset);
  };
  readonly setState64 = (offset: number, value: () => void) => {
    this.i32(0);
    value();
    this.memory('i64.store', STATE + offset);
  };
  readonly when = (then: () => void, otherwise?: () => void) => {
    this.if();
    then();
    if (otherwise) {
      this.else();
      otherwise();
    }
    this.end();
  };
}
