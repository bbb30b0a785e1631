/** KERNEL on a command line: a file, a source tree in which a kernel has been built, or one of Debian's by its name. */
import { statSync } from 'node:fs';
import { ImageError } from '../boot/image-error.ts';
import { GUEST_KERNELS, guestKernel } from '../host/node/guest.ts';
import { findKernelTree, type KernelTree } from '../host/node/kernel-tree.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import type { RunOptions } from './settings.ts';

/** @returns undefined for what is no folder. @throws Failure for a folder without a kernel */
export function kernelTree(word: string): KernelTree | undefined {
  if (!statSync(word, { throwIfNoEntry: false })?.isDirectory()) return undefined;
  try {
    return findKernelTree(word);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new Failure(error.message, status.noInput);
  }
}

/** What a word that is no file may be, for messages. */
export function describeKernels(): string {
  const names = Object.values(GUEST_KERNELS).flatMap(kernels => kernels.map(({ flavour }) => flavour));
  const which = `${names.join(', ')}, or its package, linux-image-…`;
  return `a kernel is a file, a source tree in which one has been built, or one of Debian's: ${which}`;
}

/**
 * The options with the kernel that `word`, or else --kernel, names: its file, and of a source tree also its modules and symbols.
 * @throws Failure
 */
export function withKernel(options: RunOptions, word: string | undefined): RunOptions {
  const { kernel, initrd, flavour } = options;
  if (word !== undefined && kernel !== undefined)
    throw new Failure(`${word}: and --kernel ${kernel}: there is one kernel: name it once`);
  const named = word ?? kernel;
  if (named === undefined) return options;
  const tree = kernelTree(named);
  if (tree)
    return {
      ...options,
      kernel: tree.kernel,
      // Its own files are there, and a root is not: it gets the default guest to look around in.
      guestDisk: initrd === undefined,
      modules: options.modules ?? (initrd === undefined && tree.hasModules ? named : undefined),
      symbols: options.symbols ?? tree.symbols,
    };
  if (word === undefined || statSync(word, { throwIfNoEntry: false })) return { ...options, kernel: named };
  const debian = guestKernel(word);
  if (!debian) throw new Failure(`${word}: no such file; ${describeKernels()}`, status.noInput);
  if (flavour !== undefined) throw new Failure(`${word}: and --flavour ${flavour}: there is one kernel: name it once`);
  return { ...options, arch: debian.architecture, flavour: debian.flavour };
}
