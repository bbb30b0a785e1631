/**
 * Guests with files of the host's: its own root, shared folders, archives and container images. What is done to a shared folder
 * is done natively to another one, too, by the same program: both must come to the same.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { packTar, type TarEntry } from 'modern-tar';
import { readDeb } from '../src/boot/guest/deb.ts';
import { cacheFolder } from '../src/host/node/cache.ts';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-folders-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const missing = (program: string) => (spawnSync(program, ['--version']).error ? `${program} is not installed` : false);

const run = (words: readonly string[], input = '') =>
  polyvisor(['run', '--timeout', '240', ...words], { limit: 300, input });

/** Works on the folder it is called in, in every way that a file system knows. What it prints is the same wherever it runs. */
const WORK = `
set -e
umask 022
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
mkdir project
cd project
git init -q -b main .
for i in 1 2 3 4 5 6 7 8 9; do
  mkdir dir$i
  seq $i 2000 >dir$i/numbers
done
git add .
git commit -q -m first
git mv dir1 moved
echo more >>moved/numbers
git rm -q -r dir2
git commit -q -a -m second
git status --short
git log --format='%H %s'
cd ..
git clone -q project clone
git -C clone fsck 2>/dev/null
ln project/moved/numbers hard
ln -s /nowhere/at/all dangling
chmod 640 hard
stat -c '%n %A %h %s %F' hard dangling project/moved/numbers
exec 3<>open
rm open
echo 'still here' >&3
cat /proc/self/fd/3
exec 3>&-
truncate -s 5000000000 sparse
printf end | dd of=sparse bs=1 seek=4999999997 conv=notrunc status=none
stat -c '%s' sparse
tail -c 3 sparse
rm sparse
mv hard dangling
(for i in 1 2 3 4 5; do echo a $i; done >>log) & (for i in 1 2 3 4 5; do echo b $i; done >>log)
wait
sort log
mkdir many
(cd many && seq 300 | xargs touch && ls | wc -l && rm -r ../many)
name=$(printf 'no\\377utf8')
: >"$name"
ls | od -c | head -20
rm "$name"
mkfifo pipe
(echo through >pipe) & cat pipe
find . -path ./project/.git -prune -o -path ./clone/.git -prune -o -printf '%p %y %m %s %l\\n' | sort | grep -v ' d '
`;

/**
 * Two guests in one folder: each waits for the other one's file, both append to one log, and each reads what the other one wrote last.
 * Waiting ends after two minutes.
 */
const MEET = `
echo "I am $1" >$1.new
mv $1.new $1
await() {
  for tries in $(seq 600); do
    [ -e $1 ] && return
    sleep 0.2
  done
  echo "$1 has not come"
  exit 1
}
await $2
cat $2
for line in $(seq 20); do
  echo "$1 $line" >>log
done
echo >$1-done
await $2-done
wc -l <log
`;

describe('a shared folder', { skip: missing('git') || missing('find'), concurrency: 2 }, () => {
  const both = join(folder, 'both');
  mkdirSync(both);
  writeFileSync(join(both, 'meet.sh'), MEET);
  for (const [hypervisor, other] of [
    ['kvm', 'xen-pv'],
    ['xen-pv', 'kvm'],
  ] as const)
    test(`under ${hypervisor}: git and all that a file system does come to the same as natively; another guest shares one`, {
      timeout: 400_000,
    }, async () => {
      const [native, shared] = [join(folder, `native-${hypervisor}`), join(folder, `shared-${hypervisor}`)];
      for (const path of [native, shared]) mkdirSync(path);
      const expected = execFileSync('sh', ['-c', WORK], { cwd: native, encoding: 'utf8' });
      writeFileSync(join(shared, 'work.sh'), WORK);
      const { stdout, stderr, status } = await run([
        ...['-H', hypervisor, '--root', 'host', '--share', `${shared},tag=work`, '--cwd', '/mnt/work'],
        ...['--share', `${both},tag=both`],
        ...['--exec', `mkdir w && cd w && sh ../work.sh && cd /mnt/both && sh meet.sh ${hypervisor} ${other}`],
      ]);
      assert.equal(status, 0, stderr);
      assert.equal(stdout, `${expected}I am ${other}\n40\n`);
      const lines = readFileSync(join(both, 'log'), 'utf8').split('\n');
      assert.deepEqual(
        lines.filter(line => line.startsWith(`${hypervisor} `)),
        Array.from({ length: 20 }, (_, index) => `${hypervisor} ${index + 1}`),
      );
      // And the host finds the same files.
      const list = (path: string) =>
        execFileSync(
          'sh',
          [
            '-c',
            `cd ${path} && md5sum $(git -C project ls-files | sed s,^,project/,) clone/*/* && git -C project fsck --full`,
          ],
          {
            encoding: 'utf8',
            env: { ...process.env, GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*' },
            stdio: ['ignore', 'pipe', 'ignore'],
          },
        );
      assert.equal(list(join(shared, 'w')), list(native));
    });
});

test('the host’s own root: its programs run, streams stay apart, its files stay as they are', {
  timeout: 400_000,
}, async () => {
  const here = join(folder, 'here');
  mkdirSync(here);
  writeFileSync(join(here, 'file'), 'of the host\n');
  const before = statSync(join(here, 'file'), { bigint: true });
  const command = [
    `perl -e 'print "perl ", join(",", @ARGV), "\\n"; print STDERR "to stderr\\n"' "$WORD" two`,
    'cat file; echo changed >file; cat file; rm -r ../here/none 2>/dev/null; mkdir new; ls',
    'id -u; id -g; pwd; tr a-z A-Z',
    'echo by its name >/dev/stderr',
    'exit 7',
  ].join('\n');
  const { stdout, stderr, status } = await run(
    [
      ...['-H', 'kvm', '--root', 'host', '--cwd', here, '--env', 'WORD=it\'s "one"', '--user', '65534:100'],
      ...['--exec', command],
    ],
    'from stdin\n',
  );
  assert.deepEqual(
    [stdout, status],
    [`perl it's "one",two\nof the host\nof the host\nfile\n65534\n100\n${here}\nFROM STDIN\n`, 7],
    stderr,
  );
  // The host's folder is not the guest's to write to, and the programs say so between the two.
  assert.match(stderr, /^to stderr$[\s\S]*^by its name$/m);
  assert.deepEqual(statSync(join(here, 'file'), { bigint: true }), before);
  assert.equal(readFileSync(join(here, 'file'), 'utf8'), 'of the host\n');
  assert.deepEqual(readdirSync(here), ['file']);
});

/** An OCI layout of two layers: the upper one removes a file of the lower. */
async function makeLayout(path: string, architecture: string, program: Uint8Array): Promise<void> {
  const blob = (bytes: Uint8Array) => {
    const digest = createHash('sha256').update(bytes).digest('hex');
    mkdirSync(join(path, 'blobs/sha256'), { recursive: true });
    writeFileSync(join(path, 'blobs/sha256', digest), bytes);
    return { digest: `sha256:${digest}`, size: bytes.length };
  };
  const json = (value: unknown) => blob(new TextEncoder().encode(JSON.stringify(value)));
  const file = (name: string, body: Uint8Array | string, mode = 0o644): TarEntry => {
    const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
    return { header: { name, size: bytes.length, mode, type: 'file' }, body: bytes };
  };
  const lower = await packTar([
    file('bin/busybox', program, 0o755),
    file('data/kept', 'kept'),
    file('data/removed', 'removed'),
    { header: { name: 'bin/show', size: 0, type: 'symlink', linkname: 'busybox' } },
  ]);
  const upper = await packTar([
    file('data/.wh.removed', ''),
    file('data/added', 'added'),
    file('etc/passwd', 'app:x:7:8::/data:/none\n'),
  ]);
  const config = json({
    architecture,
    os: 'linux',
    config: {
      Env: ['GREETING=hello world', 'PATH=/bin'],
      Entrypoint: ['busybox', 'sh'],
      Cmd: ['-c', 'echo $GREETING $HOME $PWD; busybox id; busybox ls'],
      WorkingDir: '/data',
      User: 'app',
    },
    rootfs: { type: 'layers', diff_ids: [] },
  });
  const manifest = json({ schemaVersion: 2, config, layers: [blob(lower), blob(upper)] });
  const platform = { os: 'linux', architecture };
  writeFileSync(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, platform }] }));
  writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}

describe('a container image', () => {
  let busybox = new Uint8Array();
  before(async () => {
    await polyvisor(['guest', '--cached', '--flavour', 'amd64'], { limit: 300 });
    const packages = join(cacheFolder(), 'packages');
    const deb = readdirSync(packages).find(name => /^busybox-static.*amd64\.deb$/.test(name))!;
    const [file] = await readDeb(readFileSync(join(packages, deb)), path => /bin\/busybox$/.test(path));
    busybox = new Uint8Array(file!.data);
  });

  test('its entry point runs with its environment, folder and user', { timeout: 400_000 }, async () => {
    const layout = join(folder, 'layout');
    await makeLayout(layout, 'amd64', busybox);
    const { stdout, stderr, status } = await run(['-H', 'xen-pvh', '--root', `oci:${layout}`]);
    assert.deepEqual(
      [stdout, status],
      ['hello world /data /data\nuid=7(app) gid=8 groups=8\nadded\nkept\n', 0],
      stderr,
    );
  });

  test('one of another architecture, and one that was damaged, are refused', async () => {
    const other = join(folder, 'other');
    await makeLayout(other, 'arm64', busybox);
    const refused = await run(['--root', `oci:${other}`]);
    assert.equal(refused.status, 65);
    assert.match(refused.stderr, /not for linux\/amd64, but for linux\/arm64/);
    const damaged = join(folder, 'damaged');
    await makeLayout(damaged, 'amd64', busybox);
    for (const name of readdirSync(join(damaged, 'blobs/sha256')))
      writeFileSync(join(damaged, 'blobs/sha256', name), '{}');
    const result = await run(['--root', `oci:${damaged}`]);
    assert.equal(result.status, 65);
    assert.match(result.stderr, /is not what its name says/);
  });
});

test('what cannot be is refused with its reason', async () => {
  const file = join(folder, 'a-file');
  writeFileSync(file, 'x');
  const climbing = join(folder, 'climbing.tar');
  writeFileSync(climbing, await packTar([{ header: { name: '../../escaped', size: 1, type: 'file' }, body: 'x' }]));
  const noTar = join(folder, 'none.tar');
  writeFileSync(noTar, 'this is no archive at all');
  for (const [words, status, reason] of [
    [['--share', join(folder, 'none')], 66, /no such file/],
    [['--share', file], 66, /is a file, not a folder/],
    [['--share', `${folder},tag=a/b`], 64, /a tag is/],
    [['--share', folder, '--share', `${folder},tag=share`], 64, /given twice/],
    [['--root', join(folder, 'none')], 66, /no such file/],
    [['--root', '/proc'], 66, /cannot be given to a guest/],
    [['--root', climbing], 65, /climbs out/],
    [['--root', noTar], 65, /archive/],
    [['--root', 'host', '--init', '--exec', 'true'], 64, /give one of them/],
    [['--cwd', '/'], 64, /--root/],
    [['--root', 'host', '--user', 'a b', '--exec', 'true'], 64, /--user/],
    [['--root', 'host', '--env', '1=2', '--exec', 'true'], 64, /--env/],
    [['--share', folder, '--flavour', 'cloud-amd64'], 64, /no 9P/],
  ] as const) {
    const result = await run(words);
    assert.equal(result.status, status, `${words.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, reason);
  }
});
