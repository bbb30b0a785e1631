/** The modules of a kernel that was just built, in its tree or as `make modules_install` leaves them: the ones that a guest may need. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { type Module, selectModules } from '../../boot/guest/modules.ts';
import { ImageError } from '../../boot/image-error.ts';
import { treeModules } from './kernel-tree.ts';

export interface KernelModules {
  /** As `uname -r` prints it. */
  release: string;
  /** In loading order. */
  modules: Module[];
}

/**
 * @param path the folder of a release, one that has lib/modules/RELEASE (INSTALL_MOD_PATH), or a source tree with modules
 * @throws ImageError if there are no modules; the host's error (with `code`) if they cannot be read
 */
export async function readKernelModules(path: string): Promise<KernelModules> {
  const built = treeModules(resolve(path));
  if (built) {
    const files = built.files.map(({ file, path }) => new ModuleFile(file, path));
    return { release: built.release, modules: await selectModules(files) };
  }
  const folder = releaseFolder(resolve(path));
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => /\.ko(?:\.\w+)?$/.test(name))
    // `moduleName` looks behind the last slash.
    .map(name => new ModuleFile(join(folder, name), name.includes('/') ? name : `./${name}`));
  if (files.length === 0) throw new ImageError(`${folder} has no kernel modules (*.ko) in it`);
  return { release: basename(folder), modules: await selectModules(files) };
}

/** A module that is read when it is wanted: a distribution's kernel has thousands. */
class ModuleFile {
  readonly path: string;
  readonly #file: string;

  /** @param path below lib/modules/RELEASE */
  constructor(file: string, path: string) {
    this.path = path;
    this.#file = file;
  }

  get data(): Uint8Array {
    return new Uint8Array(readFileSync(this.#file));
  }
}

function releaseFolder(path: string): string {
  if (!statSync(path).isDirectory()) throw new ImageError(`${path} is no folder of modules`);
  if (existsSync(join(path, 'kernel')) || existsSync(join(path, 'modules.dep'))) return path;
  for (const below of ['lib/modules', 'usr/lib/modules', '']) {
    const all = join(path, below);
    if (!existsSync(all)) continue;
    const releases = readdirSync(all).filter(name => existsSync(join(all, name, 'kernel')));
    if (releases.length === 1) return join(all, releases[0]!);
    if (releases.length > 1)
      throw new ImageError(`${all} has modules of ${releases.join(', ')}: name the folder of one`);
  }
  throw new ImageError(
    `${path} has neither modules nor lib/modules/RELEASE in it: "make modules_install INSTALL_MOD_PATH=${path}" puts them there`,
  );
}

/** Where a distribution keeps the modules of the kernel in `kernel`, if that is where it keeps kernels. */
export function installedModules(kernel: string): string | undefined {
  const release = /^\/boot\/vmlinu[xz]-(.+)$/.exec(resolve(kernel))?.[1];
  const folder = release === undefined ? undefined : join('/lib/modules', release);
  return folder !== undefined && existsSync(join(folder, 'kernel')) ? folder : undefined;
}
