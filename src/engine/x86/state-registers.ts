/**
 * Registers and flags that stand in the state's memory: the interpreter's, and those of functions made for both tiers.
 */
import type { Value } from '../../wasm/expressions.ts';
import type { ProcessorCode } from './code.ts';
import { state } from './state.ts';
import type { FlagSource, Registers } from './tier.ts';

export class StateRegisters implements Registers {
  gpr(b: ProcessorCode, index: number, bits: number, high: boolean): Value {
    return b.state(state.GPR + 8 * index + (high ? 1 : 0), bits);
  }
  setGpr(b: ProcessorCode, index: number, bits: number, high: boolean, value: Value): void {
    const offset = state.GPR + 8 * index + (high ? 1 : 0);
    if (bits === 32) b.setState(offset, b.zx(value, 32), 64);
    else b.setState(offset, value, bits);
  }

  // Flags: stored at once.

  setFlags(b: ProcessorCode, source: FlagSource): void {
    const aux = source.aux();
    b.setState(state.FLAG_RESULT, b.sx(source.r, source.bits));
    b.setState32(state.FLAG_AUX, aux);
  }
  flagResult(b: ProcessorCode): Value {
    return b.state(state.FLAG_RESULT);
  }
  flagAux(b: ProcessorCode): Value {
    return b.state32(state.FLAG_AUX);
  }
  condition(): undefined {
    return undefined;
  }
}
