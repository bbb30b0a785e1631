/** Makes V8 give memory back at a moment when much of it has just become garbage. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Collects garbage now. V8 does so when its own heap grows; what an unpacked kernel takes (50 MB of typed arrays) lies outside
 * of that and would stay for as long as the machine runs, since a running guest makes no garbage.
 */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  if (typeof collect === 'function') collect();
}
