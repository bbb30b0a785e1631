/** Files of a Debian package that is no guest of ours, fetched with apt once and then kept. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readDeb } from '../src/boot/guest/deb.ts';
import { createApt } from '../src/host/node/apt.ts';
import { cacheFolder, publish, withWorkFolder } from '../src/host/node/cache.ts';

/** The amd64 package's files below `folder`, which ends in a slash, by their names there. */
export async function packageFiles(name: string, folder: string): Promise<Map<string, Uint8Array>> {
  const kept = join(cacheFolder(), 'packages', `${name}.deb`);
  if (!existsSync(kept))
    await withWorkFolder(cacheFolder(), async (work, onInterrupt) => {
      const apt = createApt(work, 'amd64', onInterrupt);
      await apt.update();
      const { version } = await apt.show(name);
      publish(await apt.download(name, version), kept);
    });
  const files = await readDeb(readFileSync(kept), path => path.startsWith(folder));
  return new Map(files.map(({ path, data }) => [path.slice(folder.length), data]));
}
