/** Roots of packages of our own, by an apt of our own: a shell script on the PATH. No guest runs: what it is given is looked at. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { after, beforeEach, describe, test } from 'node:test';
import { unpackTar } from 'modern-tar';
import { makeWholeDeb } from '../../boot/guest/testing.ts';
import { ImageError } from '../../boot/image-error.ts';
import { cachedDebianRoot, type DebianRootOptions, ensureDebianRoot, type RootMaterial } from './debian-root.ts';

const PATH = process.env.PATH;
const top = mkdtempSync(join(tmpdir(), 'polyvisor-debian-'));

/** In the order in which apt would unpack them. */
const PACKAGES: Record<string, () => Promise<Uint8Array>> = {
  libc6: () =>
    makeWholeDeb(
      {
        control: 'Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\nMulti-Arch: same\nDescription: C\n a library\n',
        postinst: '#!/bin/sh\n',
        triggers: '# a remark\ninterest-noawait /etc/ld.so.conf.d\ninterest ldconfig\nactivate-noawait ldconfig\n',
      },
      {
        './lib/': '',
        './lib/libc.so.6': 'a library',
        './lib/gconv/UTF-16.so': 'a table',
        './lib64/ld.so.2': ['../lib/libc.so.6'],
      },
    ),
  e2fsprogs: () =>
    makeWholeDeb(
      {
        control:
          'Package: e2fsprogs\nVersion: 1:1.47\nArchitecture: amd64\nDepends: libc6 (>= 2.36), libnone | libother\n',
        conffiles: '/etc/mke2fs.conf\n',
        preinst: '#!/bin/sh\n',
      },
      {
        ...{ './sbin/mke2fs': 'a program', './etc/mke2fs.conf': 'settings\n' },
        ...{ './usr/share/doc/e2fsprogs/copyright': 'free', './usr/share/doc/e2fsprogs/README': 'read me' },
        ...{ './usr/share/man/man8/mke2fs.8.gz': 'a manual', './usr/share/locale/de/x.mo': 'eine Übersetzung' },
        ...{ [`./usr/share/${'long/'.repeat(60)}name`]: 'a name of 317 letters' },
      },
    ),
};

describe('roots of Debian’s packages', () => {
  after(() => {
    process.env.PATH = PATH;
    rmSync(top, { recursive: true, force: true });
  });

  let place = { cache: '', archive: '', bin: '' };
  let count = 0;
  beforeEach(async () => {
    const folder = join(top, String(count++));
    place = { cache: join(folder, 'cache'), archive: join(folder, 'archive'), bin: join(folder, 'bin') };
    for (const path of [place.archive, place.bin]) mkdirSync(path, { recursive: true });
    for (const [name, make] of Object.entries(PACKAGES))
      writeFileSync(join(place.archive, `${name}.deb`), await make());
    writeFileSync(
      join(place.archive, 'plan'),
      'Inst libc6 (2.36-9 Debian:12.15/stable [amd64]) []\nInst e2fsprogs (1:1.47 Debian:12.15/stable, other [amd64])\nConf libc6 (2.36-9)\n',
    );
    const apt = `#!/bin/sh
echo "$*" >>${place.archive}/log
for word; do
  case $word in
    Dir::Cache::archives=*) archives=\${word#*=} ;;
    update) [ -e ${place.archive}/offline ] && echo "Err:1 http://archive InRelease"; exit 0 ;;
    unknown) echo "E: Unable to locate package unknown" >&2; exit 100 ;;
    --simulate) [ -e ${place.archive}/offline ] && exit 100; cat ${place.archive}/plan ;;
    --download-only)
      for name in libc6_2.36-9 e2fsprogs_1%3a1.47; do
        [ -e $archives/\${name}_amd64.deb ] && continue
        echo "fetch $name" >>${place.archive}/log
        cp ${place.archive}/\${name%%_*}.deb $archives/\${name}_amd64.deb
      done ;;
  esac
done
`;
    writeFileSync(join(place.bin, 'apt-get'), apt);
    chmodSync(join(place.bin, 'apt-get'), 0o755);
    process.env.PATH = `${place.bin}:${PATH}`;
  });

  const log = () => readFileSync(join(place.archive, 'log'), 'utf8').trim().split('\n');
  const fetches = () => log().filter(line => line.startsWith('fetch')).length;
  let seen: { material?: RootMaterial; archive: Uint8Array; tools: Uint8Array };
  let installs = 0;

  async function make(options: DebianRootOptions = {}) {
    const notes: string[] = [];
    const root = await ensureDebianRoot(
      {
        cache: place.cache,
        room: 1 << 16,
        progress: ({ step, text }) => void (step === 'note' && notes.push(text)),
        ...options,
      },
      async material => {
        installs++;
        seen = { material, archive: readFileSync(material.archive), tools: readFileSync(material.tools) };
        const image = readFileSync(material.image);
        assert.ok(image.every(byte => byte === 0));
        image.set([1, 2, 3], 100);
        writeFileSync(material.image, image);
      },
    );
    return { root, notes: notes.join('\n') };
  }

  test('packages become one archive with dpkg’s records, and the programs that make the file system another', async () => {
    const { root } = await make();
    assert.deepEqual(root.installed, ['libc6 2.36-9', 'e2fsprogs 1:1.47']);
    assert.deepEqual([root.cached, root.size % 512, seen.material!.count], [false, 0, 2]);
    const entries = new Map((await unpackTar(seen.archive)).map(entry => [entry.header.name, entry]));
    const text = (name: string) => new TextDecoder().decode(entries.get(name)?.data);
    assert.deepEqual([entries.get('./lib64')?.header.linkname, text('./lib/libc.so.6')], ['usr/lib64', 'a library']);
    assert.equal(
      text('./var/lib/dpkg/status'),
      'Package: libc6\nStatus: install ok unpacked\nVersion: 2.36-9\nArchitecture: amd64\nMulti-Arch: same\nDescription: C\n a library\n\n' +
        'Package: e2fsprogs\nStatus: install ok unpacked\nVersion: 1:1.47\nArchitecture: amd64\nDepends: libc6 (>= 2.36), libnone | libother\n' +
        'Conffiles:\n /etc/mke2fs.conf e78e7faf2c91332782285f057698f37f\n\n',
    );
    assert.deepEqual(
      [...entries.keys()].filter(name => name.startsWith('./usr/share')),
      ['./usr/share/doc/e2fsprogs/copyright', `./usr/share/${'long/'.repeat(60)}name`],
    );
    assert.equal(text('./var/lib/dpkg/info/e2fsprogs.list').split('\n')[0], '/.');
    assert.match(text('./var/lib/dpkg/info/libc6:amd64.list'), /^\/lib\n\/lib\/libc\.so\.6$/m);
    assert.equal(entries.get('./var/lib/dpkg/info/libc6:amd64.postinst')?.header.mode, 0o755);
    assert.equal(text('./var/lib/dpkg/triggers/File'), '/etc/ld.so.conf.d libc6:amd64/noawait\n');
    assert.equal(text('./var/lib/dpkg/triggers/ldconfig'), 'libc6:amd64\n');
    assert.match(text('./polyvisor-configure'), /for name in e2fsprogs; do/);
    const tools = (await unpackTar(seen.tools)).map(({ header }) => header.name);
    assert.deepEqual(
      tools.filter(name => /[^/]$/.test(name) && name.split('/').length > 2),
      ['./lib/libc.so.6', './lib64/ld.so.2', './sbin/mke2fs', './etc/mke2fs.conf'],
    );
    const install = log().find(line => line.includes('--simulate'))!;
    assert.match(install, /--no-install-recommends --simulate install \?essential /);
  });

  test('made once, found then; asked again, apt may have newer packages', async () => {
    const { root } = await make({ packages: ['gcc', 'python3'] });
    const made = installs;
    const again = await make({ packages: ['python3', 'gcc', 'gcc'] });
    assert.deepEqual(again.root, { ...root, cached: true });
    assert.deepEqual(cachedDebianRoot({ cache: place.cache, packages: ['gcc', 'python3'] }), again.root);
    assert.equal(cachedDebianRoot({ cache: place.cache }), undefined);
    assert.equal((await make({ packages: ['gcc', 'python3'], refresh: true })).root.cached, true);
    assert.deepEqual([installs, fetches()], [made, 2]);
    const plan = join(place.archive, 'plan');
    writeFileSync(plan, readFileSync(plan, 'utf8').replace('[]', '[] ').replaceAll('2.36-9', '2.36-9'));
    writeFileSync(plan, readFileSync(plan, 'utf8').replace(/^Inst libc6.*\n/m, ''));
    const newer = await make({ packages: ['gcc', 'python3'], refresh: true });
    assert.deepEqual(newer.root.installed, ['e2fsprogs 1:1.47']);
    assert.ok(!existsSync(root.image), 'the earlier one has gone');
  });

  test('an image that is damaged is made again, of the packages that are there', async () => {
    const { root } = await make();
    const whole = readFileSync(root.image);
    const damaged = Buffer.from(whole);
    damaged[5000] = 1;
    writeFileSync(root.image, damaged);
    assert.equal(cachedDebianRoot({ cache: place.cache }), undefined);
    writeFileSync(join(place.archive, 'offline'), '');
    const before = log().length;
    const { root: again, notes } = await make();
    assert.match(notes, /root\.img is not what was written there: the root in the cache is made again/);
    assert.deepEqual(readFileSync(again.image), whole);
    assert.equal(log().length, before, 'apt is not asked');
    writeFileSync(again.image, whole.subarray(0, 512));
    assert.match((await make()).notes, /is made again/);
  });

  test('a package that is damaged is fetched again', async () => {
    const { root } = await make();
    const store = join(place.cache, 'debian/amd64/packages');
    writeFileSync(join(store, readdirSync(store).find(name => name.startsWith('libc6'))!), 'rubbish');
    rmSync(root.image);
    const { root: again, notes } = await make();
    assert.match(notes, /libc6_2\.36-9_amd64\.deb in the cache is damaged: it is fetched again/);
    assert.deepEqual([again.installed, fetches()], [root.installed, 3]);
  });

  test('what cannot be had is said in a line, and nothing half made stays', async () => {
    const failure = async (options: DebianRootOptions, install?: () => never) => {
      const error = await (install
        ? ensureDebianRoot({ cache: place.cache, ...options }, install)
        : make(options)
      ).catch((error: unknown) => error);
      assert.ok(error instanceof ImageError, String(error));
      return error.message;
    };
    assert.match(await failure({ packages: ['unknown'] }), /make no root for amd64: they have no unknown/);
    assert.match(await failure({ packages: ['a b'] }), /"a b" is no name of a Debian package/);
    const fails = () => {
      throw new ImageError('the guest has failed');
    };
    assert.match(await failure({}, fails), /the guest has failed/);
    assert.deepEqual(
      readdirSync(place.cache).filter(name => name.startsWith('.')),
      [],
    );
    assert.equal(cachedDebianRoot({ cache: place.cache }), undefined);
    const { root } = await make();
    writeFileSync(join(place.archive, 'offline'), '');
    const { root: kept, notes } = await make({ refresh: true });
    assert.deepEqual(kept, { ...root, cached: true });
    assert.match(notes, /make no root for amd64: Err:1.*stays in use/);
  });
});
