/** The kernels of a matrix: files, or the names of Debian's that the default guest can be made of. */
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { type KernelImage, parseKernel } from '../boot/image.ts';
import { ImageError } from '../boot/image-error.ts';
import { flavourWithFolders, GUEST_KERNELS, type Guest, type GuestKernel, guestKernel } from '../host/node/guest.ts';
import type { KernelInfo } from '../matrix/result.ts';
import { Failure } from './failure.ts';
import { fetchGuest } from './fetch-guest.ts';
import { readInput } from './input-file.ts';
import { describeKernels, kernelTree } from './kernel-word.ts';
import { digest } from './matrix-plan.ts';

export interface MatrixKernel extends KernelInfo {
  /** What names it on a command line. */
  word: string;
  initrd: string;
  /** Where its own modules are; undefined: those of the initial RAM disk are all. */
  modulesFolder: string | undefined;
  /** Undefined where the file is no kernel. */
  image: KernelImage | undefined;
  /** Why it is none. */
  error: string;
}

/**
 * @param words files, source trees, or Debian's kernels by flavour (`686-pae`) or package; the default guest's when there are none
 * @param initrd instead of the default guest's
 * @param mounts they mount folders of the host's
 */
export async function findKernels(
  words: readonly string[],
  initrd: string | undefined,
  mounts = false,
): Promise<MatrixKernel[]> {
  if (initrd !== undefined) readInput(initrd);
  const kernels: MatrixKernel[] = [];
  const usual = mounts ? flavourWithFolders('amd64') : GUEST_KERNELS.amd64[0].flavour;
  for (const word of words.length > 0 ? words : [usual]) {
    const tree = kernelTree(word);
    const debian = statSync(word, { throwIfNoEntry: false }) ? undefined : guestKernel(word);
    if (mounts && debian) checkMounts(debian);
    const guest = debian && (await fetchGuest(debian));
    const modulesFolder = tree?.hasModules && initrd === undefined ? word : undefined;
    const file = guest?.kernel ?? tree?.kernel ?? word;
    kernels.push({ word, modulesFolder, ...(await findKernel(file, guest, initrd, kernels)) });
  }
  return kernels;
}

/** @throws Failure for one of Debian's that has no 9P */
function checkMounts({ architecture, flavour }: GuestKernel): void {
  if (/(?:^|-)cloud-/.test(flavour))
    throw new Failure(
      `${flavour}: Debian's kernels for clouds have no 9P, by which roots are shared: ${flavourWithFolders(architecture)}`,
    );
}

async function findKernel(
  file: string,
  guest: Guest | undefined,
  initrd: string | undefined,
  others: readonly MatrixKernel[],
): Promise<Omit<MatrixKernel, 'word' | 'modulesFolder'>> {
  const bytes = readKernel(file);
  let image: KernelImage | undefined;
  let error = '';
  try {
    image = await parseKernel(bytes);
  } catch (reason) {
    if (!(reason instanceof ImageError)) throw reason;
    error = reason.message;
  }
  const wanted = guest?.release ?? image?.setup?.kernelVersion.split(' ')[0] ?? '';
  const name = unused(wanted || basename(file), others);
  return {
    name,
    description: image?.description ?? '',
    file,
    size: statSync(file).size,
    digest: digest(bytes),
    // A 32-bit kernel runs no 64-bit programs.
    initrd: initrd ?? (guest ?? (await fetchGuest({ architecture: image?.bits === 32 ? 'i386' : 'amd64' }))).initrd,
    image,
    error,
  };
}

function readKernel(file: string): Uint8Array {
  try {
    return readInput(file);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure(`${error.message}; ${describeKernels()}`, error.status);
  }
}

/** Two kernels of one version are told apart by a number. */
function unused(name: string, others: readonly MatrixKernel[]): string {
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? name : `${name} (${number})`;
    if (others.every(other => other.name !== candidate)) return candidate;
  }
}
