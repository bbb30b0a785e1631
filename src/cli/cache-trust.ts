/** Says, once a command, that the cache is not used where others could have put code into it. */
import { cacheFolder, distrust } from '../host/node/cache.ts';

export function sayIfCacheIsNotUsed(): void {
  const cache = cacheFolder();
  const reason = distrust(cache);
  if (reason !== undefined) process.stderr.write(`polyvisor: the cache ${cache} is not used: ${reason}\n`);
}
