/** The disk images of `--disk`, opened, with what goes wrong said by its file. */
import { ImageError } from '../boot/image-error.ts';
import type { Disk } from '../host/disk.ts';
import { layeredDisk } from '../host/layered-disk.ts';
import { openDiskFile } from '../host/node/disk-file.ts';
import { DiskInUseError } from '../host/node/disk-lock.ts';
import { openQcow2File } from '../host/node/qcow2-file.ts';
import { isQcow2 } from '../qcow2/header.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import type { DiskOption } from './values.ts';

/** @throws Failure */
export function openDisk({ path, readOnly, share, bus, format, backingAnywhere, layer }: DiskOption): Disk {
  const onUnlockable = (reason: string) =>
    void process.stderr.write(`polyvisor: ${path} is not locked: ${reason}. Nothing keeps others from writing to it\n`);
  try {
    return withFile(path, status.noInput, () => {
      const options = { readOnly: readOnly || layer === true, share, bus, onUnlockable, backingAnywhere };
      const disk = format === 'qcow2' ? openQcow2File(path, options) : openDiskFile(path, options);
      if (format === undefined) refuseQcow2(path, disk);
      return layer ? layeredDisk(disk) : disk;
    });
  } catch (error) {
    if (error instanceof DiskInUseError) throw new Failure(`--disk ${error.message}`, status.inUse);
    if (error instanceof ImageError) throw new Failure(`--disk ${error.message}`, status.image);
    throw error;
  }
}

/** A guest cannot do anything with the bytes of such an image; and whoever means them says so. */
function refuseQcow2(path: string, disk: Disk): void {
  const start = new Uint8Array(512);
  disk.read(0, start);
  if (!isQcow2(start)) return;
  disk.close();
  throw new ImageError(`${path}: is a qcow2 image: "${path},format=qcow2"; "format=raw" takes its bytes as they are`);
}
