/**
 * Disks that bring their own boot loader, through the BIOS: Debian's GRUB from the first sectors of a disk to its menu on the
 * serial console and on to the kernel in an ext4 beside it; ISOLINUX from a CD image (Debian's package ipxe) and iPXE from it.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { nodeClock } from '../src/host/node/clock.ts';
import { openDiskFile } from '../src/host/node/disk-file.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { createMachine } from '../src/machine/machine.ts';
import type { MachineOptions } from '../src/machine/options.ts';
import { polyvisor } from './command.ts';
import { packageFiles } from './debian-package.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-disk-boot-'));
after(() => rmSync(folder, { recursive: true }));

const env = { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` };
const missing = ['mkfs.ext4', 'grub-mkimage'].find(program => spawnSync(program, ['-V'], { env }).error);
const skip = missing ? `${missing} (Debian: e2fsprogs, grub-common) is not installed` : false;

const SECTOR = 512;
/** Where the partition begins, as on every disk of today: GRUB's core stands before it. */
const PARTITION = 2048;
/** In the master boot record. */
const TABLE = 0x1be;
const TABLE_END = 0x1fe;

const MENU = `
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=-1
menuentry 'Another' { echo no }
menuentry 'Debian' {
  linux /boot/vmlinuz console=ttyS0 quiet
  initrd /boot/initrd
}
`;

/** A disk with GRUB, and one partition with Debian's kernel and the default guest's initial RAM disk. */
async function makeDisk(): Promise<string> {
  const [modules, content] = [join(folder, 'i386-pc'), join(folder, 'content')];
  mkdirSync(modules);
  for (const [name, data] of await packageFiles('grub-pc-bin', 'usr/lib/grub/i386-pc/'))
    if (!name.includes('/')) writeFileSync(join(modules, name), data);
  const core = join(folder, 'core.img');
  const wanted = ['biosdisk', 'part_msdos', 'ext2', 'serial', 'linux', 'normal', 'echo'];
  const words = ['-d', modules, '-O', 'i386-pc', '-o', core, '-p', '(hd0,msdos1)/boot/grub', ...wanted];
  execFileSync('grub-mkimage', words, { env });

  const guest = await ensureGuest({ architecture: 'amd64' });
  mkdirSync(join(content, 'boot/grub'), { recursive: true });
  copyFileSync(guest.kernel, join(content, 'boot/vmlinuz'));
  copyFileSync(guest.initrd, join(content, 'boot/initrd'));
  writeFileSync(join(content, 'boot/grub/grub.cfg'), MENU);
  const partition = join(folder, 'partition.img');
  // GRUB 2.06 knows neither of these features.
  const features = '^metadata_csum_seed,^orphan_file';
  execFileSync('mkfs.ext4', ['-q', '-F', '-O', features, '-d', content, partition, '48M'], { env, stdio: 'pipe' });

  const system = readFileSync(partition);
  const disk = Buffer.alloc(PARTITION * SECTOR + system.length);
  disk.set(readFileSync(join(modules, 'boot.img')));
  disk.fill(0, TABLE, TABLE_END);
  disk.set([0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff], TABLE);
  disk.writeUInt32LE(PARTITION, TABLE + 8);
  disk.writeUInt32LE(system.length / SECTOR, TABLE + 12);
  disk.set(readFileSync(core), SECTOR);
  disk.set(system, PARTITION * SECTOR);
  const path = join(folder, 'disk.img');
  writeFileSync(path, disk);
  return path;
}

/** Runs until all of `steps` have been seen: after each, what it says is typed. @returns what the console showed */
async function talk(options: MachineOptions, steps: readonly (readonly [seen: string, typed: string])[]) {
  const waiting = [...steps];
  let [text, unread] = ['', ''];
  const machine = await createMachine({
    clock: nodeClock,
    ...options,
    console: {
      onInput: () => {},
      write(data) {
        const piece = new TextDecoder().decode(data);
        text += piece;
        unread += piece;
        if (waiting.length === 0 || !unread.includes(waiting[0][0])) return;
        unread = '';
        const [, typed] = waiting.shift()!;
        // Not from within the guest's own write.
        setImmediate(() => (waiting.length === 0 ? machine.stop() : machine.type(typed)));
      },
    },
  });
  const exit = await machine.run({ timeout: 400 });
  return { exit, text };
}

describe('GRUB on a disk', { skip }, () => {
  let image: string;
  before(async () => {
    image = await makeDisk();
  });

  test('shows its menu on the serial console and boots its kernel, which finds the disk', async () => {
    const disk = openDiskFile(image, { readOnly: true });
    try {
      const down = '\x1b[B';
      const { exit, text } = await talk({ disks: [disk] }, [
        ['Debian', `${down}\r`],
        ['~ # ', 'cat /proc/cmdline /proc/partitions\r'],
        ['vda1', ''],
      ]);
      assert.deepEqual(exit, { kind: 'stopped' }, text.slice(-2000));
      assert.match(text, /GNU GRUB +version 2/);
      assert.match(text, /BOOT_IMAGE=\/boot\/vmlinuz console=ttyS0 quiet/);
    } finally {
      disk.close();
    }
  });

  test('is booted by the command, unless a kernel is named', async () => {
    const disk = ['--disk', `${image},ro`, '--timeout', '300'];
    const cases = [
      { words: ['run', ...disk, '-H', 'xen-pv'], says: /has no BIOS, so it boots no disk; name a kernel/, status: 65 },
      {
        words: ['run', ...disk, '--entry', 'disk', '--append', 'x'],
        says: /--append cannot be given to it/,
        status: 64,
      },
      {
        words: ['run', ...disk, '--exec', 'echo $(uname -s) has $(ls /dev/vda1)'],
        prints: 'Linux has /dev/vda1\n',
        status: 0,
      },
    ];
    for (const { words, says = /^$/, prints = '', status } of cases) {
      const result = await polyvisor(words, { limit: 320 });
      assert.match(result.stderr, says);
      assert.equal(result.stdout, prints);
      assert.equal(result.status, status);
    }
  });
});

describe('iPXE', () => {
  test('comes to its prompt from ISOLINUX on a CD image', async () => {
    const [[, iso]] = [...(await packageFiles('ipxe', 'usr/lib/ipxe/'))].filter(([name]) => name === 'ipxe.iso');
    const path = join(folder, 'ipxe.iso');
    writeFileSync(path, iso);
    const disk = openDiskFile(path, { readOnly: true });
    try {
      const { exit, text } = await talk({ disks: [disk] }, [
        ['boot: ', '\r'],
        ['Ctrl-B', '\x02'],
        ['iPXE> ', ''],
      ]);
      assert.deepEqual(exit, { kind: 'stopped' }, text.slice(-2000));
      assert.match(text, /ISOLINUX/);
    } finally {
      disk.close();
    }
  });

  test('comes to its prompt by the entry in real mode, which is its default', async () => {
    const kernel = (await packageFiles('ipxe', 'boot/')).get('ipxe.lkrn')!;
    const { exit, text } = await talk({ kernel }, [
      ['Ctrl-B', '\x02'],
      ['iPXE> ', ''],
    ]);
    assert.deepEqual(exit, { kind: 'stopped' }, text.slice(-2000));
  });
});
