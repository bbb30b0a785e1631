/**
 * The contract of a helper: the meaning of a hard instruction written in TypeScript, called by both tiers. Arguments stand
 * in the state's ARGUMENT slots (64 bits each), a result goes to RESULT. A helper that must fault calls `raise`, which
 * leaves it by throwing a sentinel that the one caller of helpers (processor.ts) turns into the guest's exception: nothing
 * else may have been changed by then.
 */
import type { StateViews } from './state.ts';

export interface HelperContext extends StateViews {
  /**
   * Raises exception `vector` (with `code` where the architecture pushes one). Never returns. The instruction has not
   * happened: RIP points at it.
   */
  raise(vector: number, code?: number): never;
}

export type Helper = (context: HelperContext) => void;
