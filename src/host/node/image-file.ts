/** A file with a disk image in a format of its own, locked as raw images are. `flush` is fdatasync(2). */
import { closeSync, fdatasyncSync, fstatSync, readSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { ImageError } from '../../boot/image-error.ts';
import type { ImageFile } from '../image-file.ts';
import type { DiskFileOptions } from './disk-file.ts';
import { openLocked } from './disk-lock.ts';

/** @throws as `openDiskFile` */
export function openImageFile(path: string, options: DiskFileOptions = {}): ImageFile {
  const { readOnly = false, share = false, onUnlockable = () => {} } = options;
  const descriptor = openLocked(path, share ? 'share' : readOnly ? 'read' : 'write', readOnly, onUnlockable);
  if (!fstatSync(descriptor).isFile()) {
    closeSync(descriptor);
    throw new ImageError(`${path}: an image that is not raw is a file`);
  }
  let open = true;
  return {
    name: basename(path),
    readOnly,
    get size() {
      return fstatSync(descriptor).size;
    },
    read(offset, into) {
      let done = 0;
      for (let count = 1; count > 0 && done < into.length; done += count)
        count = readSync(descriptor, into, done, into.length - done, offset + done);
      into.fill(0, done);
    },
    write(offset, from) {
      for (let done = 0; done < from.length; )
        done += writeSync(descriptor, from, done, from.length - done, offset + done);
    },
    flush: () => fdatasyncSync(descriptor),
    close() {
      if (open) closeSync(descriptor);
      open = false;
    },
  };
}
