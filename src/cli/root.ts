/** What --share and --root come to: folders for the machine, and the archive that tells the guest's /init what to do with them. */
import process from 'node:process';
import { type MountedFolder, type RootRun, SYSROOT, startArchive } from '../boot/guest/start-script.ts';
import { ImageError } from '../boot/image-error.ts';
import { CHANNEL_TAG } from '../folders/channel.ts';
import type { GuestArchitecture } from '../host/node/guest.ts';
import { type ContainerImage, readContainerImage } from '../host/node/oci.ts';
import { status } from './exit-status.ts';
import { Failure, withFileLater } from './failure.ts';
import { fetchRoot } from './fetch-guest.ts';
import { type FolderOption, ROOT_TAG, type RootSettings } from './folder-options.ts';
import type { Settings } from './settings.ts';
import type { DiskOption } from './values.ts';

export interface FilesPlan {
  folders: FolderOption[];
  /** The root's disk comes before all others. */
  disks: DiskOption[];
  /** To be put after the default guest's initial RAM disk. */
  archive: Uint8Array | undefined;
  /** The command's streams go through the channel. */
  channel: boolean;
  /** The console is the command's terminal. */
  isTerminal: boolean;
}

/** Where the default guest finds what is shared with it. */
const MOUNT_POINT = '/mnt';
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Debian's names of architectures, and Go's. */
const GO_NAMES = { amd64: 'amd64', i386: '386' } as const;

/** @param hasTerminal the command may have this process's terminal. @throws Failure */
export async function planFiles(
  settings: Pick<Settings, 'shares' | 'rooted' | 'disks' | 'exec' | 'guest'>,
  hasTerminal = Boolean(process.stdin.isTTY && process.stdout.isTTY),
): Promise<FilesPlan> {
  const { shares, rooted, disks, exec, guest } = settings;
  const mounted = shares.map(({ tag, source }): MountedFolder => {
    const where = rooted ? `${SYSROOT}${MOUNT_POINT}/${tag}` : `${MOUNT_POINT}/${tag}`;
    return { tag, where, isOurs: false, readOnly: source.kind === 'folder' && source.readOnly };
  });
  if (!rooted) {
    const archive = shares.length > 0 ? startArchive(mounted, undefined) : undefined;
    return { folders: shares, disks, archive, channel: false, isTerminal: false };
  }
  const { root, init } = rooted;
  const isTerminal = !init && hasTerminal;
  const image = root.kind === 'oci' ? await readImage(root.path, GO_NAMES[guest.architecture ?? 'amd64']) : undefined;
  const source = rootSource(rooted, image);
  const disk = await rootDisk(root, guest.architecture);
  const all: FolderOption[] = [...(source ? [{ tag: ROOT_TAG, source }] : []), ...shares];
  const mounts: MountedFolder[] = source
    ? [{ tag: ROOT_TAG, where: SYSROOT, isOurs: true, readOnly: false }, ...mounted]
    : mounted;
  if (!init) all.push({ tag: CHANNEL_TAG, source: { kind: 'channel' } });
  const run = { ...whatToRun(rooted, exec, image), isTerminal };
  return {
    folders: all,
    disks: disk ? [disk, ...disks] : disks,
    archive: startArchive(mounts, run),
    channel: !init,
    isTerminal,
  };
}

/** The disk that the root is on, for those that are on one. */
async function rootDisk(root: RootSettings['root'], architecture: GuestArchitecture | undefined) {
  const others = { share: false, bus: undefined, format: undefined, backingAnywhere: false };
  if (root.kind === 'disk') return { path: root.path, readOnly: root.readOnly, layer: root.layer, ...others };
  if (root.kind !== 'debian') return undefined;
  const { image } = await fetchRoot({ packages: root.packages, ...(architecture && { architecture }) });
  return { path: image, readOnly: false, layer: true, ...others };
}

async function readImage(path: string, architecture: string): Promise<ContainerImage> {
  try {
    return await withFileLater(`--root oci:${path}`, status.noInput, () => readContainerImage(path, architecture));
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new Failure(`--root oci:${path}: ${error.message}`, status.image);
  }
}

function rootSource({ root }: RootSettings, image: ContainerImage | undefined): FolderOption['source'] | undefined {
  switch (root.kind) {
    case 'host':
      return { kind: 'layer', path: '/', ownersAsTheyAre: true };
    case 'folder':
      return root.readOnly
        ? { kind: 'layer', path: root.path, ownersAsTheyAre: false }
        : { kind: 'folder', path: root.path, readOnly: false, ownersAsTheyAre: false };
    case 'tar':
      return { kind: 'tar', path: root.path };
    case 'oci':
      return { kind: 'image', path: root.path, layers: image!.layers };
    case 'disk':
    case 'debian':
      return undefined;
  }
}

function whatToRun(
  rooted: RootSettings,
  exec: string | undefined,
  image: ContainerImage | undefined,
): Omit<RootRun, 'isTerminal'> {
  const { root, init, user } = rooted;
  const terminal = process.env.TERM && /^[\w.+-]{1,32}$/.test(process.env.TERM) ? process.env.TERM : 'dumb';
  const environment = new Map([
    ['PATH', PATH],
    ['TERM', terminal],
    ...(image?.environment ?? []),
    ...rooted.environment,
  ]);
  let run: RootRun['run'];
  if (init) run = { kind: 'init' };
  else if (exec !== undefined) run = { kind: 'shell', command: exec };
  else if (image && image.words.length > 0) run = { kind: 'words', words: image.words };
  else run = { kind: 'words', words: ['sh', '-l'] };
  return {
    isDisk: root.kind === 'disk' || root.kind === 'debian',
    readOnly: root.kind === 'disk' && root.readOnly,
    run,
    cwd: rooted.cwd ?? image?.cwd ?? (root.kind === 'host' ? process.cwd() : '/'),
    environment,
    user: user ?? (image?.user || 'root'),
  };
}
