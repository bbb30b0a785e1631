/** The root in which a cell's test runs. Each cell has one of its own: what it changes is in a layer above, and gone with it. */
import { Channel, type ChannelEnds } from '../folders/channel.ts';
import type { SharedFolder } from '../host/back-ends.ts';
import type { Disk } from '../host/disk.ts';
import type { GuestKernel } from '../host/node/guest.ts';
import { openDisk } from './disks.ts';
import { Failure } from './failure.ts';
import type { FolderOption, RootOption, RootSettings } from './folder-options.ts';
import { openFolders } from './folders.ts';
import { planFiles } from './root.ts';
import type { DiskOption } from './values.ts';

/** What a cell is told of its root; it survives JSON. */
export interface CellRoot {
  folders: FolderOption[];
  disks: DiskOption[];
  /** What goes after the default guest's initial RAM disk, in base64. */
  archive: string;
  /** The script's output and status come through the channel. */
  channel: boolean;
}

/** Linux takes no longer word from a program that starts another one (MAX_ARG_STRLEN), in bytes; the shell needs some of it. */
const LONGEST_SCRIPT = 120_000;

/**
 * @param script undefined: the root's own init is started
 * @throws Failure
 */
export async function planCellRoot(
  rooted: RootSettings,
  script: string | undefined,
  architecture: GuestKernel['architecture'],
): Promise<CellRoot> {
  if (script !== undefined && Buffer.byteLength(script) > LONGEST_SCRIPT)
    throw new Failure(`--test: with --root, a script has at most ${LONGEST_SCRIPT} bytes: put the rest into the root`);
  const plan = await planFiles(
    {
      shares: [],
      rooted: { ...rooted, root: withLayer(rooted.root), cwd: rooted.cwd ?? '/' },
      disks: [],
      exec: script,
      guest: { architecture, flavour: undefined },
    },
    false,
  );
  return {
    folders: plan.folders,
    disks: plan.disks,
    archive: Buffer.from(plan.archive!).toString('base64'),
    channel: plan.channel,
  };
}

/** Cells run beside each other, and one after the other: none finds what another one has left. */
function withLayer(root: RootOption): RootOption {
  if (root.kind === 'folder') return { ...root, readOnly: true };
  return root.kind === 'disk' && !root.readOnly ? { ...root, layer: true } : root;
}

export interface OpenedRoot {
  archive: Uint8Array;
  folders: SharedFolder[];
  disks: Disk[];
}

/** @param now nanoseconds since 1970, for files in memory. @throws Failure */
export async function openCellRoot(root: CellRoot, ends: ChannelEnds, now: () => bigint): Promise<OpenedRoot> {
  const { folders, channel } = await openFolders(root.folders, ends, now);
  // Nothing is typed.
  if (channel instanceof Channel) channel.give(undefined);
  return { archive: new Uint8Array(Buffer.from(root.archive, 'base64')), folders, disks: root.disks.map(openDisk) };
}
