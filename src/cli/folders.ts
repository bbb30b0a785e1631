/** The folders of --share and --root, opened in the guest's thread. */
import { readFileSync } from 'node:fs';
import { ImageError } from '../boot/image-error.ts';
import { unpackInto } from '../folders/archive.ts';
import { Channel, type ChannelEnds } from '../folders/channel.ts';
import { MemoryFileSystem } from '../folders/memory-file-system.ts';
import type { SharedFolder } from '../host/back-ends.ts';
import { FileError, type FileSystem } from '../host/file-system.ts';
import { openFolder } from '../host/node/folder.ts';
import { readLayer } from '../host/node/oci.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import type { FolderOption } from './folder-options.ts';

export interface OpenedFolders {
  folders: SharedFolder[];
  channel: Channel | undefined;
}

/** @param now nanoseconds since 1970, for files in memory. @throws Failure */
export async function openFolders(
  options: readonly FolderOption[],
  ends: ChannelEnds,
  now: () => bigint,
): Promise<OpenedFolders> {
  const opened: OpenedFolders = { folders: [], channel: undefined };
  for (const { tag, source } of options) {
    let files: FileSystem;
    if (source.kind === 'channel') files = opened.channel = new Channel(ends);
    else files = await openSource(source, now);
    opened.folders.push({ tag, files });
  }
  return opened;
}

type Source = Exclude<FolderOption['source'], { kind: 'channel' }>;

async function openSource(source: Source, now: () => bigint): Promise<FileSystem> {
  const { path } = source;
  switch (source.kind) {
    case 'folder':
      return open(path, source.readOnly, source.ownersAsTheyAre);
    case 'layer':
      return new MemoryFileSystem({ lower: open(path, true, source.ownersAsTheyAre), now });
    case 'tar': {
      const files = new MemoryFileSystem({ now });
      await unpack(
        files,
        path,
        withFile(`--root ${path}`, status.noInput, () => readFileSync(path)),
        false,
      );
      return files;
    }
    case 'image': {
      const files = new MemoryFileSystem({ now });
      for (const layer of source.layers)
        await unpack(files, path, await withLayer(path, () => readLayer(path, layer)), true);
      return files;
    }
  }
}

async function withLayer<T>(path: string, work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ImageError) throw new Failure(`--root oci:${path}: ${error.message}`, status.image);
    return withFile(`--root oci:${path}`, status.noInput, () => {
      throw error;
    });
  }
}

async function unpack(files: MemoryFileSystem, path: string, bytes: Uint8Array, isLayer: boolean): Promise<void> {
  try {
    await unpackInto(files, bytes, isLayer);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new Failure(`--root ${path}: ${error.message}`, status.image);
  }
}

function open(path: string, readOnly: boolean, ownersAsTheyAre: boolean): FileSystem {
  try {
    return withFile(path, status.noInput, () => openFolder(path, { readOnly, ownersAsTheyAre }));
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new Failure(`${path}: cannot be given to a guest: ${error.message}`, status.noInput);
  }
}
