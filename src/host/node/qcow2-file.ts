/**
 * qcow2 images in files, with what is under them. An image says itself which file that is, so that one from elsewhere could name any
 * file of the host's: unless the user says otherwise, the files under an image lie beside it or in folders there.
 */
import { realpathSync } from 'node:fs';
import { dirname, isAbsolute, join, relative } from 'node:path';
import { ImageError } from '../../boot/image-error.ts';
import { readHeader } from '../../qcow2/header.ts';
import { Qcow2Disk } from '../../qcow2/qcow2-disk.ts';
import type { Disk } from '../disk.ts';
import { type DiskFileOptions, openDiskFile } from './disk-file.ts';
import { openImageFile } from './image-file.ts';

/** Images above one another, at most. */
const MOST_IMAGES = 32;

export interface Qcow2FileOptions extends DiskFileOptions {
  /** The files under the image may be anywhere. */
  backingAnywhere?: boolean;
}

/**
 * Opens the image at `path`. What is under it is only read.
 * @throws as `openDiskFile`; ImageError for an image, or a chain of them, that is not known or not allowed
 */
export function openQcow2File(path: string, options: Qcow2FileOptions = {}): Disk {
  const folder = options.backingAnywhere ? undefined : dirname(realpathSync(path));
  return open(path, options, folder, [realpathSync(path)]);
}

/** @param folder where all files must be; undefined: anywhere @param above the images from which this one is reached, itself included */
function open(path: string, options: Qcow2FileOptions, folder: string | undefined, above: readonly string[]): Disk {
  const { readOnly, bus } = options;
  const file = openImageFile(path, options);
  let backing: Disk | undefined;
  try {
    const named = readHeader(file).backing;
    if (named) backing = openBacking(path, named, options, folder, above);
    return new Qcow2Disk(file, { readOnly: readOnly ?? false, bus, backing });
  } catch (error) {
    backing?.close();
    file.close();
    throw error;
  }
}

function openBacking(
  path: string,
  { path: named, format }: { path: string; format: string | undefined },
  options: Qcow2FileOptions,
  folder: string | undefined,
  above: readonly string[],
): Disk {
  const fail = (what: string): never => {
    throw new ImageError(`${path}: ${what}`);
  };
  const name = JSON.stringify(named);
  // QEMU's names of other things than files: json:…, nbd://…
  if (/^[\w+.-]+:/.test(named)) fail(`is above ${name}, which is no file's name`);
  if (format !== 'raw' && format !== 'qcow2')
    fail(
      format === undefined
        ? `does not say what kind of image ${name} is: "qemu-img rebase -u -b ${name} -F raw ${path}" writes it down (or qcow2)`
        : `is above an image of the format ${JSON.stringify(format)}: raw and qcow2 are known`,
    );
  const from = isAbsolute(named) ? named : join(dirname(path), named);
  let real: string;
  try {
    real = realpathSync(from);
  } catch (error) {
    return fail(`the image under it cannot be read: ${(error as Error).message}`);
  }
  const inFolder = folder === undefined ? '' : relative(folder, real);
  if (inFolder === '..' || inFolder.startsWith('../') || isAbsolute(inFolder))
    fail(
      `the image under it is elsewhere, at ${JSON.stringify(real)}: "backing=any" allows that, if you trust who made it`,
    );
  if (above.includes(real)) fail('is above itself');
  if (above.length >= MOST_IMAGES) fail(`more than ${MOST_IMAGES} images are above one another`);
  const { onUnlockable, share } = options;
  const under = { readOnly: true, ...(share && { share }), ...(onUnlockable && { onUnlockable }) };
  return format === 'raw' ? openDiskFile(real, under) : open(real, under, folder, [...above, real]);
}
