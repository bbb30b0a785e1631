/** Shared folders by 9P: a large file written and read in a row, every file of a tree looked at, and Git's work on one. */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cacheFolder } from '../src/host/node/cache.ts';
import { flavourWithFolders } from '../src/host/node/guest.ts';
import type { Bench } from './bench.ts';
import { type DeviceCase, measureDevices, type Task } from './devices.ts';

const MEBIBYTE = 2 ** 20;
const LARGE = 64;
const FOLDERS = 40;
const FILES_EACH = 50;
const FILES = FOLDERS * FILES_EACH;

export const folders: Bench = {
  name: 'folders',
  title: 'shared folders by 9P: sequential, every file looked at, git status',
  usual: false,
  async run(context) {
    if (spawnSync('git', ['--version']).error) {
      context.note('git is not installed: nothing to measure with (apt-get install git)');
      return { tables: [], data: null };
    }
    const folder = mkdtempSync(join(cacheFolder(), 'bench-folders-'));
    try {
      makeTree(folder);
      const share = { path: folder, tag: 'share' };
      const on = (name: string, hypervisor: string): DeviceCase => ({ name, hypervisor, plugged: { share } });
      const qemu = [
        ...['-fsdev', `local,id=share,path=${folder},security_model=none`],
        ...['-device', 'virtio-9p-pci,fsdev=share,mount_tag=share'],
      ];
      const cases = [
        { ...on('virtio-9p under kvm', 'kvm'), qemu },
        on('9pfs under xen-pvh', 'xen-pvh'),
        on('9pfs under xen-pv', 'xen-pv'),
      ];
      const programs = {
        flavour: flavourWithFolders('amd64'),
        make: (build: string) => writeFileSync(join(build, 'folders'), SCRIPT, { mode: 0o755 }),
      };
      return await measureDevices(context, programs, cases, TASKS);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

/** Guests cache as a shared folder has it (cache=mmap); what the kernel keeps is dropped before each task. */
const SCRIPT = `#!/bin/sh
if [ ! -d /mnt/tree ]; then
  for name in 9p 9pnet_virtio 9pnet_xen; do
    modprobe -q $name 2>/dev/null
  done
  [ -e /sys/bus/xen/devices/9pfs-0 ] && transport=xen,msize=131072 || transport=virtio,msize=262144
  mount -t 9p -o trans=$transport,version=9p2000.L,cache=mmap share /mnt || exit 1
fi
sync
echo 3 >/proc/sys/vm/drop_caches
case $1 in
  mount) ;;
  write) dd if=/dev/zero of=/mnt/written bs=256k count=${(LARGE * MEBIBYTE) / 262144} conv=fsync 2>/dev/null ;;
  read) dd if=/mnt/large of=/dev/null bs=256k 2>/dev/null ;;
  stat) find /mnt/tree -path /mnt/tree/.git -prune -o -type f -print | xargs stat -c %s | wc -l ;;
  status)
    mount -o bind /mnt/tree /mnt/programs/tree
    mount -o bind /dev /mnt/programs/dev
    chroot /mnt/programs /git -c safe.directory=/tree -C /tree status --short 2>/dev/null | wc -l
    umount /mnt/programs/tree /mnt/programs/dev ;;
esac || exit
echo ok
`;

const TASKS: Task[] = [
  { title: 'it is mounted', line: 'folders mount', expected: 'ok', amount: 1, unit: 'mounts' },
  { title: 'a file written', line: 'folders write', expected: 'ok', amount: LARGE, unit: 'MiB' },
  { title: 'a file read', line: 'folders read', expected: 'ok', amount: LARGE, unit: 'MiB' },
  { title: 'files looked at', line: 'folders stat', expected: `${FILES}\nok`, amount: FILES, unit: 'files' },
  { title: 'git status', line: 'folders status', expected: '1\nok', amount: FILES, unit: 'files' },
];

/** A file, a repository with one change, and a root with no more in it than git. */
function makeTree(folder: string): void {
  writeFileSync(join(folder, 'large'), new Uint8Array(LARGE * MEBIBYTE).fill(1));
  const programs = join(folder, 'programs');
  copyProgram('git', programs);
  for (const name of ['tree', 'dev']) mkdirSync(join(programs, name));
  const tree = join(folder, 'tree');
  for (let index = 0; index < FOLDERS; index++) {
    const inner = join(tree, `folder-${index}`);
    mkdirSync(inner, { recursive: true });
    for (let file = 0; file < FILES_EACH; file++) writeFileSync(join(inner, `file-${file}`), `${index} ${file}\n`);
  }
  const git = (...words: string[]) =>
    execFileSync('git', ['-C', tree, '-c', 'user.name=a', '-c', 'user.email=a@b', ...words], { stdio: 'ignore' });
  git('init', '-q');
  git('add', '.');
  git('commit', '-q', '-m', 'all');
  writeFileSync(join(tree, 'folder-1/file-1'), 'changed\n');
}

/** The program at the top of `root`, with the libraries that it is linked to. */
function copyProgram(name: string, root: string): void {
  const path = execFileSync('which', [name], { encoding: 'utf8' }).trim();
  const libraries = execFileSync('ldd', [path], { encoding: 'utf8' }).match(/\/\S+\.so\S*/g) ?? [];
  mkdirSync(root, { recursive: true });
  copyFileSync(realpathSync(path), join(root, name));
  for (const library of libraries) {
    const place = join(root, library);
    mkdirSync(dirname(place), { recursive: true });
    copyFileSync(realpathSync(library), place);
  }
}
