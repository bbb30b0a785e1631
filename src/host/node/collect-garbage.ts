/** Makes V8 take less memory: by giving back what has just become garbage, and by taking less of it. */
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

/**
 * Keeps V8's young generation from growing (it would to 48 MB, and a guest's process would keep that). For the start of a
 * process: a machine makes much short-lived garbage while it is put together and little afterwards.
 */
export function keepYoungGenerationSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
