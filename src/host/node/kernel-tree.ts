/** A Linux source tree in which a kernel has been built, or the folder it was built in (`make O=FOLDER`). */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ImageError } from '../../boot/image-error.ts';

export interface KernelTree {
  /** The bzImage, or else vmlinux. */
  kernel: string;
  /** System.map; undefined where there is none. */
  symbols: string | undefined;
  /** The kernel's own modules have been built there. */
  hasModules: boolean;
}

/** From the one that boots fastest. */
const KERNELS = ['arch/x86/boot/bzImage', 'vmlinux'];
const RELEASE = 'include/config/kernel.release';
const MODULES = 'modules.order';

/** @throws ImageError for a folder without a kernel */
export function findKernelTree(folder: string): KernelTree {
  const kernel = KERNELS.map(name => join(folder, name)).find(existsSync);
  if (kernel === undefined)
    throw new ImageError(
      `${folder} is a folder without ${KERNELS.join(' or ')} in it: build the kernel there ("make bzImage modules"), or name its file`,
    );
  const map = join(folder, 'System.map');
  return {
    kernel,
    symbols: existsSync(map) ? map : undefined,
    hasModules: treeModules(folder) !== undefined,
  };
}

/** What modules a tree has: their kernel's release, and for each its file and its place below lib/modules/RELEASE. */
export interface TreeModules {
  release: string;
  files: { file: string; path: string }[];
}

/** @returns undefined where none have been built */
export function treeModules(folder: string): TreeModules | undefined {
  const [release, order] = [RELEASE, MODULES].map(name => join(folder, name));
  if (!existsSync(release!) || !existsSync(order!)) return undefined;
  // A line a module: drivers/block/loop.ko, in older kernels with kernel/ before it, in newer ones the object, loop.o.
  const files = readFileSync(order!, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map(line => line.replace(/^kernel\/(?=.+\/)/, before => (existsSync(join(folder, line)) ? before : '')))
    .map(line => line.replace(/\.o$/, '.ko'))
    .filter(line => existsSync(join(folder, line)))
    .map(line => ({ file: join(folder, line), path: `kernel/${line}` }));
  return files.length === 0 ? undefined : { release: readFileSync(release!, 'utf8').trim(), files };
}
