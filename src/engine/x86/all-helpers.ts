/** Every helper by name: what `b.helper(name)` in a row finds. */

import { controlHelpers } from './control.ts';
import { cryptoHelpers } from './crypto.ts';
import type { Helper } from './helper.ts';
import { integerHelpers } from './integer-helpers.ts';
import { segmentHelpers } from './segments.ts';
import { sseFloatHelpers } from './sse-float.ts';
import { transferHelpers } from './transfers.ts';
import { x87Helpers, x87HelpersOnBoard } from './x87.ts';

export const helpers: Readonly<Record<string, Helper>> = {
  ...controlHelpers,
  ...cryptoHelpers,
  ...integerHelpers,
  ...segmentHelpers,
  ...sseFloatHelpers,
  ...transferHelpers,
  ...x87HelpersOnBoard,
};

/**
 * Helpers that use no general register and no arithmetic flag: translated code keeps those in locals while it calls
 * them.
 */
export const pureHelpers: ReadonlySet<string> = new Set(
  [x87Helpers, sseFloatHelpers, cryptoHelpers].flatMap(table => Object.keys(table)),
);
