/** The disk images of `--disk`, opened, with what goes wrong said by its file. */
import { ImageError } from '../boot/image-error.ts';
import type { Disk } from '../host/disk.ts';
import { openDiskFile } from '../host/node/disk-file.ts';
import { DiskInUseError } from '../host/node/disk-lock.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import type { DiskOption } from './values.ts';

/** @throws Failure */
export function openDisk({ path, readOnly, share, bus }: DiskOption): Disk {
  const onUnlockable = (reason: string) =>
    void process.stderr.write(`polyvisor: ${path} is not locked: ${reason}. Nothing keeps others from writing to it\n`);
  try {
    return withFile(path, status.noInput, () => openDiskFile(path, { readOnly, share, bus, onUnlockable }));
  } catch (error) {
    if (error instanceof DiskInUseError) throw new Failure(`--disk ${error.message}`, status.inUse);
    if (error instanceof ImageError) throw new Failure(`--disk ${error.message}`, status.image);
    throw error;
  }
}
