/** Where the files of the package stand, for code that runs file by file (dist/src) or from the bundle (dist/bundle). */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/** The folder that has package.json. */
function findRoot(): string {
  for (let folder = here; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json')) || folder === dirname(folder)) return folder;
  }
}

const packageRoot = findRoot();

export const packageFile = join(packageRoot, 'package.json');

/** A room's compiled sources: what is kept of them in the cache is valid for these files alone. */
export const compiledRoom = (room: string) => join(packageRoot, 'dist/src', room);

/** The program runs from dist/bundle. */
export const isBundled = here === join(packageRoot, 'dist/bundle');
