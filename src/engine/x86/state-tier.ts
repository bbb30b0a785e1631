/** What a tier is whose registers and flags stand in the state's memory: the interpreter's, and hand-made functions' beside it. */
import type { Builder, FlagSource, Value } from './builder.ts';
import * as state from './state.ts';

export abstract class StateTier {
  gpr(b: Builder, index: number, bits: number, high: boolean): Value {
    return b.state(state.GPR + 8 * index + (high ? 1 : 0), bits);
  }
  setGpr(b: Builder, index: number, bits: number, high: boolean, value: Value): void {
    const offset = state.GPR + 8 * index + (high ? 1 : 0);
    if (bits === 32) b.setState(offset, b.zx(value, 32), 64);
    else b.setState(offset, value, bits);
  }

  // Flags: stored at once.

  setFlags(b: Builder, source: FlagSource): void {
    const aux = source.aux();
    b.setState(state.FLAG_RESULT, b.sx(source.r, source.bits));
    b.setState32(state.FLAG_AUX, aux);
  }
  flagResult(b: Builder): Value {
    return b.state(state.FLAG_RESULT);
  }
  flagAux(b: Builder): Value {
    return b.state32(state.FLAG_AUX);
  }
  condition(): undefined {
    return undefined;
  }
}
