/** Roots from a disk, an archive and a folder, and a kernel with modules of its own: what tests/folders.test.ts has no boot for. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'fflate';
import { packTar } from 'modern-tar';
import { readCpio } from '../src/boot/cpio.ts';
import { type RootPackage, writeRoot } from '../src/boot/debian/root-archive.ts';
import { makeWholeDeb } from '../src/boot/guest/testing.ts';
import { installBy } from '../src/cli/install-root.ts';
import { polyvisor, program } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-roots-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** e2fsprogs stands in a folder that only root has in its path. */
const env = { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` };
const run = (words: readonly string[], input = '') =>
  polyvisor(['run', '--timeout', '240', ...words], { limit: 300, input });

/**
 * As much of a Debian as the making of a root asks of one: e2fsprogs and the shell as they are here, and a dpkg that says what it is told.
 * (Busybox's shell would run its own dpkg.)
 */
async function smallPackages(busybox: Uint8Array): Promise<RootPackage[]> {
  const found = (name: string) => execFileSync('sh', ['-c', `command -v ${name}`], { env, encoding: 'utf8' }).trim();
  const mke2fs = found('mke2fs');
  const libraries = execFileSync('ldd', [mke2fs, '/bin/sh'], { env, encoding: 'utf8' }).match(/\/\S+\.so[\d.]*/g) ?? [];
  const links = ['cat', 'ls', 'rm', 'chmod'].map((name): [string, readonly [string]] => [`./bin/${name}`, ['busybox']]);
  const about = (name: string) => ({ control: `Package: ${name}\nVersion: 1\nArchitecture: amd64\nDescription: x\n` });
  const packages = {
    busybox: await makeWholeDeb(about('busybox'), {
      './bin/busybox': busybox,
      './bin/sh': readFileSync('/bin/sh'),
      ...Object.fromEntries(links),
    }),
    e2fsprogs: await makeWholeDeb(about('e2fsprogs'), {
      './sbin/mke2fs': readFileSync(mke2fs),
      './etc/mke2fs.conf': readFileSync('/etc/mke2fs.conf'),
      ...Object.fromEntries(libraries.map(path => [`.${path}`, readFileSync(path)])),
    }),
    dpkg: await makeWholeDeb(
      {
        ...about('dpkg'),
        preinst: '#!/bin/sh\necho "$1 of $DPKG_MAINTSCRIPT_PACKAGE" >/prepared\n',
      },
      {
        './usr/bin/dpkg':
          '#!/bin/sh\nfor last; do :; done\nfor name in a b c; do echo "Setting up $name (1) ..."; done\necho $last >/configured\n',
      },
    ),
  };
  return Object.entries(packages).map(([file, bytes]) => ({ file, read: () => bytes }));
}

describe('roots', () => {
  let guest = { kernel: '', initrd: '', release: '' };
  let busybox = new Uint8Array();
  before(async () => {
    const { stdout } = await polyvisor(['guest', '--cached', '--flavour', 'amd64', '--json'], { limit: 300 });
    guest = JSON.parse(stdout);
    const found = readCpio(readFileSync(guest.initrd)).find(({ name }) => name === 'bin/busybox');
    busybox = new Uint8Array(found!.data as Uint8Array);
  });

  test('a folder: written to, with a user of its own and what only the guest knows of its files; the command hears of signals', {
    timeout: 400_000,
  }, async () => {
    const root = join(folder, 'folder');
    mkdirSync(join(root, 'bin'), { recursive: true });
    mkdirSync(join(root, 'etc'));
    writeFileSync(join(root, 'bin/busybox'), busybox, { mode: 0o755 });
    symlinkSync('busybox', join(root, 'bin/sh'));
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nme:x:1234:55::/home/me:/bin/sh\n');
    const command =
      'cd /tmp && busybox mknod null c 1 3 && busybox chown 7:8 null && busybox stat -c "%F %t:%T %u:%g" null && busybox id';
    const waiting = `trap 'echo caught; exit 3' TERM; echo ready; while :; do busybox sleep 0.1; done`;
    const made = await polyvisor(
      ['run', '--timeout', '240', '-H', 'kvm', '--root', root, '--exec', `${command}\n${waiting}`],
      { limit: 300, signal: { after: 'ready', name: 'SIGTERM' } },
    );
    assert.equal(made.status, 3, made.stderr);
    assert.equal(
      made.stdout.replace(/ groups=.*/, ''),
      'character special file 1:3 7:8\nuid=0(root) gid=0\nready\ncaught\n',
      made.stderr,
    );
    assert.ok(readdirSync(join(root, 'tmp')).includes('null'), 'the host has it');
    const found = await run([
      '-H',
      'xen-pv',
      '--root',
      `${root},ro`,
      '--user',
      'me',
      '--exec',
      'busybox stat -c "%F %t:%T %u:%g" /tmp/null; busybox id -u; echo $HOME; echo x >/bin/new || busybox rm /tmp/null',
    ]);
    assert.match(found.stdout, /^character special file 1:3 7:8\n1234\n\/home\/me\n$/, found.stderr);
    assert.deepEqual(readdirSync(join(root, 'bin')).sort(), ['busybox', 'sh']);
  });

  test('a matrix runs a test in a root, and what a cell changes is gone with it', { timeout: 400_000 }, async () => {
    const root = join(folder, 'matrix');
    mkdirSync(join(root, 'bin'), { recursive: true });
    writeFileSync(join(root, 'bin/busybox'), busybox, { mode: 0o755 });
    symlinkSync('busybox', join(root, 'bin/sh'));
    const script = join(folder, 'script');
    writeFileSync(
      script,
      'echo "$WHO in $PWD"; busybox test -e /changed && exit 3; echo x >/changed\nbusybox grep -q xen /proc/cmdline /sys/hypervisor/type && exit 4; echo to stderr >&2\n',
    );
    const report = join(folder, 'matrix.json');
    const { status, stderr } = await polyvisor(
      [
        ...['matrix', '-H', 'kvm,xen-pv', '--root', root, '--env', 'WHO=me', '--cwd', '/bin'],
        ...['--test', script, '--json', report],
      ],
      { limit: 300 },
    );
    assert.equal(status, 1, stderr);
    const { cells } = JSON.parse(readFileSync(report, 'utf8'));
    assert.deepEqual(
      cells.map(({ verdict, reason }: { verdict: string; reason: string }) => [verdict, reason]),
      [
        ['passed', ''],
        ['failed', 'the test ended with status 4'],
      ],
      stderr,
    );
    assert.match(cells[0].console, /^me in \/bin$[\s\S]*^to stderr$/m);
    assert.deepEqual(cells[0].found.clocksource, 'kvm-clock');
    assert.deepEqual(readdirSync(root), ['bin']);
  });

  test('an archive: its own init is the first process', { timeout: 400_000 }, async () => {
    const init =
      '#!/bin/sh\nbusybox mount -t proc proc /proc 2>/dev/null\necho "process $$ of $(busybox uname -r)"\nbusybox poweroff -f\n';
    const entry = (name: string, body: Uint8Array | string) => ({
      header: { name, size: body.length, mode: 0o755, type: 'file' as const },
      body,
    });
    const tar = await packTar([
      entry('bin/busybox', busybox),
      { header: { name: 'bin/sh', size: 0, type: 'symlink', linkname: 'busybox' } },
      entry('sbin/init', init),
    ]);
    const archive = join(folder, 'root.tar.gz');
    writeFileSync(archive, gzipSync(tar, { level: 1 }));
    const { stdout, stderr, status } = await run(['-H', 'kvm', '--root', archive, '--init', '--append', 'quiet']);
    assert.match(stdout, new RegExp(`process 1 of ${guest.release}`), stderr);
    assert.equal(status, 0);
  });

  const noDisks = spawnSync('mkfs.ext4', ['-V'], { env }).error
    ? 'mkfs.ext4 (Debian: e2fsprogs) is not installed'
    : false;
  test('a disk image, read-only', { timeout: 400_000, skip: noDisks }, async () => {
    const [tree, image] = [join(folder, 'tree'), join(folder, 'root.img')];
    for (const name of ['bin', 'proc', 'sys', 'dev', 'run']) mkdirSync(join(tree, name), { recursive: true });
    writeFileSync(join(tree, 'bin/busybox'), busybox, { mode: 0o755 });
    writeFileSync(image, '');
    truncateSync(image, 32 << 20);
    execFileSync('mkfs.ext4', ['-q', '-F', '-d', tree, image], { env });
    const before = readFileSync(image);
    // There is no shell in it: ours is lent.
    const words = ['-H', 'xen-pv', '--root', `${image},ro`, '--exec', 'cat; cd /; echo *; exit 4'];
    const { stdout, stderr, status } = await run(words, 'input\n');
    assert.deepEqual([stdout, status], ['input\nbin dev lost+found proc run sys\n', 4], stderr);
    assert.equal(Buffer.compare(readFileSync(image), before), 0);
  });

  test('a guest makes a root of packages, and runs stand on it with a layer of their own', {
    timeout: 400_000,
    skip: noDisks,
  }, async () => {
    const place = join(folder, 'debian');
    mkdirSync(place);
    const [image, archive, tools] = ['root.img', 'root.tar', 'tools.tar'].map(name => join(place, name));
    writeFileSync(archive!, '');
    await writeRoot(await smallPackages(busybox), 'amd64', {
      root: piece => appendFileSync(archive!, piece),
      tools: whole => writeFileSync(tools!, whole),
      md5: () => '0'.repeat(32),
      progress: () => {},
    });
    writeFileSync(image!, '');
    truncateSync(image!, 64 << 20);
    const steps: string[] = [];
    await installBy([program])(
      { image: image!, archive: archive!, tools: tools!, count: 3 },
      'amd64',
      ({ text, fraction }) => steps.push(`${text}${fraction === undefined ? '' : ` ${fraction}`}`),
      () => {},
    );
    assert.ok(steps.includes('Making the file system in a guest'), steps.join('\n'));
    assert.ok(steps.includes('Configuring the packages 1'), steps.join('\n'));
    const before = readFileSync(image!);
    const command =
      'cat /etc/hostname /prepared /configured; ls -d /bin /polyvisor* /usr/sbin/policy-rc.d; echo x >/new; cat /new';
    const { stdout, stderr, status } = await run(['-H', 'xen-pvh', '--root', `${image},layer`, '--exec', command]);
    assert.deepEqual([stdout, status], ['debian\ninstall of dpkg\n-a\n/bin\nx\n', 0], stderr);
    assert.equal(Buffer.compare(readFileSync(image!), before), 0, 'the image is as it was');
  });

  test('a kernel with modules of its own', { timeout: 400_000 }, async () => {
    const installed = join(folder, 'installed');
    for (const { name, data } of readCpio(readFileSync(guest.initrd))) {
      if (!name.endsWith('.ko')) continue;
      mkdirSync(dirname(join(installed, name)), { recursive: true });
      writeFileSync(join(installed, name), data as Uint8Array);
    }
    const shared = join(folder, 'shared');
    mkdirSync(shared);
    writeFileSync(join(shared, 'file'), 'of the host\n');
    const { stdout, stderr, status } = await run([
      ...['-H', 'kvm', '--kernel', guest.kernel, '--modules', installed, '--share', `${shared},tag=own,ro`],
      ...['--exec', 'cat /mnt/own/file; touch /mnt/own/new; uname -r'],
    ]);
    assert.equal(stdout, `of the host\ntouch: /mnt/own/new: Read-only file system\n${guest.release}\n`, stderr);
    assert.equal(status, 0);
    const refused = await run(['--kernel', guest.kernel, '--modules', shared, '--exec', 'true']);
    assert.equal(refused.status, 66);
    assert.match(refused.stderr, /neither modules nor/);
  });
});
