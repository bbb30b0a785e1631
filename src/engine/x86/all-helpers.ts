/** Every helper by name: what `b.helper(name)` in a row finds. */
import { cryptoHelpers } from './crypto.ts';
import { controlHelpers } from './control.ts';
import type { Helper } from './helper.ts';
import { integerHelpers } from './integer-helpers.ts';
import { segmentHelpers } from './segments.ts';
import { sseFloatHelpers } from './sse-float.ts';
import { stringCompareHelpers } from './string-compare.ts';
import { transferHelpers } from './transfers.ts';
import { x87Helpers } from './x87.ts';

export const helpers: Readonly<Record<string, Helper>> = {
  ...controlHelpers,
  ...cryptoHelpers,
  ...integerHelpers,
  ...segmentHelpers,
  ...sseFloatHelpers,
  ...stringCompareHelpers,
  ...transferHelpers,
  ...x87Helpers,
};
