/** Snapshots as files: read and checked, and written so that a file is whole or not there. */
import { closeSync, fsyncSync, openSync, readFileSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { nodeCompression } from '../host/node/compression.ts';
import type { Header } from '../snapshot/header.ts';
import { Snapshot } from '../snapshot/snapshot.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { status } from './exit-status.ts';
import { Failure, withFile, withFileLater } from './failure.ts';

/** More than a header and what stands before it. */
const FRONT = (1 << 20) + 64;

/** @returns the file's size in bytes. @throws Failure: then there is no file, or the one that was there before */
export async function writeSnapshot(snapshot: Snapshot, file: string): Promise<number> {
  return writeWhole(file, snapshot.pieces(nodeCompression));
}

/** @returns the file's size in bytes. @throws Failure: then there is no file, or the one that was there before */
export function writeWhole(file: string, pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<number> {
  // Beside the file, for a name can only be given to it on the same file system.
  const work = `${file}.${process.pid}.part`;
  return withFileLater(file, status.output, async () => {
    let size = 0;
    try {
      const descriptor = openSync(work, 'w', 0o600);
      try {
        for await (const piece of pieces) {
          for (let at = 0; at < piece.length; ) at += writeSync(descriptor, piece, at);
          size += piece.length;
        }
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
      renameSync(work, file);
    } catch (error) {
      rmSync(work, { force: true });
      throw error;
    }
    return size;
  });
}

/** @throws Failure if nothing can be written beside `file`: better known before a run than at its end */
export function checkWritable(file: string, option = '--save'): void {
  const work = `${file}.${process.pid}.part`;
  withFile(`${option} ${file}`, status.output, () => {
    closeSync(openSync(work, 'w', 0o600));
    rmSync(work, { force: true });
  });
}

/** @throws Failure */
export function readSnapshotHeader(file: string): Header {
  return readable(file, () => {
    const front = new Uint8Array(FRONT);
    const descriptor = openSync(file, 'r');
    try {
      return Snapshot.header(front.subarray(0, readSync(descriptor, front)));
    } finally {
      closeSync(descriptor);
    }
  });
}

/** @throws Failure */
export async function readSnapshot(file: string): Promise<Snapshot> {
  const bytes = readable(file, () => readFileSync(file));
  try {
    return await Snapshot.decode(bytes, nodeCompression);
  } catch (error) {
    return readable(file, () => {
      throw error;
    });
  }
}

function readable<T>(file: string, work: () => T): T {
  try {
    return withFile(file, status.noInput, work);
  } catch (error) {
    throw error instanceof SnapshotError ? snapshotFailure(file, error) : error;
  }
}

export function snapshotFailure(file: string, error: SnapshotError): Failure {
  return new Failure(`cannot restore ${file}: ${error.message}`, status.image);
}
