/** The default guest, made from packages of our own by an apt of our own: shell scripts on the PATH. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { after, beforeEach, describe, test } from 'node:test';
import { BUSYBOX, makeDeb, makeModule } from '../../boot/guest/testing.ts';
import { ImageError } from '../../boot/image-error.ts';
import { cacheFolder } from './cache.ts';
import { ensureGuest, GUEST_KERNELS, type GuestProgress, guestKernel } from './guest.ts';

const PATH = process.env.PATH;
const root = mkdtempSync(join(tmpdir(), 'polyvisor-guest-'));
// Hooks of one file: at the top they would be every file's, since these tests share a process.
describe('guest', () => {
  after(() => {
    process.env.PATH = PATH;
    rmSync(root, { recursive: true, force: true });
  });

  /** A new machine for each test: an empty cache, and an apt whose archive has one kernel. */
  let place: { cache: string; archive: string; bin: string };
  let count = 0;
  beforeEach(async () => {
    const folder = join(root, String(count++));
    place = { cache: join(folder, 'cache'), archive: join(folder, 'archive'), bin: join(folder, 'bin') };
    for (const path of [place.archive, place.bin]) mkdirSync(path, { recursive: true });
    await offer('6.1.0-1-cloud-amd64', '6.1.5-1');
    writeFileSync(join(place.archive, 'busybox-static.deb'), await makeDeb({ './bin/busybox': BUSYBOX }));
    describe('busybox-static', '1:1.35');
    script(
      'apt-get',
      `echo "apt-get $*" >>${place.archive}/log
while [ "$1" = -o ]; do shift 2; done
[ "$1" = -q ] && shift
case $1 in
update) [ -e ${place.archive}/offline ] && { echo "Err:1 http://archive InRelease"; echo "  Could not resolve 'archive'"; exit 0; }
  echo "dlstatus:1:50.0:Retrieving" >&3 ;;
download) name=\${2%%=*}
  [ -e ${place.archive}/full ] && { echo "E: write: No space left on device" >&2; exit 100; }
  [ -e ${place.archive}/slow ] && { echo begun >${place.archive}/begun; echo half >$name.deb.part; sleep 30; }
  [ -e ${place.archive}/$name.deb ] || { echo "E: Failed to fetch $name  404" >&2; exit 100; }
  cp ${place.archive}/$name.deb ./\${name}_1_amd64.deb ;;
esac`,
    );
    script(
      'apt-cache',
      `while [ "$1" = -o ]; do shift 2; done
[ -e ${place.archive}/offline ] || cat ${place.archive}/$3.control 2>/dev/null || { echo "E: No packages found" >&2; exit 100; }`,
    );
    process.env.PATH = `${place.bin}:${PATH}`;
  });

  function script(name: string, body: string): void {
    writeFileSync(join(place.bin, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(place.bin, name), 0o755);
  }

  function describe(name: string, version: string, depends = ''): void {
    const fields = `Package: ${name}\nVersion: ${version}\nSize: 1000\n${depends && `Depends: ${depends}\n`}`;
    writeFileSync(join(place.archive, `${name}.control`), fields);
  }

  /** Puts a kernel into the archive. */
  async function offer(release: string, version: string): Promise<void> {
    const module = makeModule('virtio_blk', [], ['virtio:d00000002v*']);
    const folder = `./lib/modules/${release}`;
    const files = {
      [`./boot/vmlinuz-${release}`]: `kernel ${release}`,
      [`${folder}/${module.path}`]: module.data,
    };
    writeFileSync(join(place.archive, `linux-image-${release}.deb`), await makeDeb(files));
    describe(`linux-image-${release}`, version);
    describe('linux-image-cloud-amd64', version, `linux-image-${release} (= ${version}), linux-base`);
  }

  const set = (flag: string) => writeFileSync(join(place.archive, flag), '');
  const aptRuns = () =>
    existsSync(join(place.archive, 'log'))
      ? readFileSync(join(place.archive, 'log'), 'utf8').split('\n').length - 1
      : 0;
  const leftovers = () => readdirSync(place.cache).filter(name => name.startsWith('.'));

  /** The one line that a failure says. */
  async function failure(options: Parameters<typeof ensureGuest>[0] = {}): Promise<string> {
    try {
      await ensureGuest({ cache: place.cache, ...options });
    } catch (error) {
      assert.ok(error instanceof ImageError, `${error instanceof Error ? error.stack : error}`);
      assert.ok(!error.message.includes('\n'));
      return error.message;
    }
    return assert.fail('it should have failed');
  }

  test('the guest is fetched and made once, and then found', async () => {
    const steps = new Set<string>();
    const guest = await ensureGuest({ cache: place.cache, progress: ({ step }) => steps.add(step) });
    assert.equal(guest.release, '6.1.0-1-cloud-amd64');
    assert.equal(guest.version, '6.1.5-1');
    assert.deepEqual(guest.modules, ['virtio_blk']);
    assert.equal(readFileSync(guest.kernel, 'utf8'), 'kernel 6.1.0-1-cloud-amd64');
    assert.equal(readFileSync(guest.initrd, 'latin1').slice(0, 6), '070701');
    assert.deepEqual([...steps], ['lists', 'kernel', 'busybox', 'build']);
    assert.equal(guest.cached, false);
    assert.deepEqual(leftovers(), []);
    const runs = aptRuns();
    assert.deepEqual(await ensureGuest({ cache: place.cache }), { ...guest, cached: true });
    assert.equal(aptRuns(), runs);
  });

  test('apt is told to leave the machine alone', async () => {
    await ensureGuest({ cache: place.cache });
    for (const line of readFileSync(join(place.archive, 'log'), 'utf8').trim().split('\n')) {
      for (const key of ['Dir::State', 'Dir::State::lists', 'Dir::Cache'])
        assert.match(line, new RegExp(`-o ${key}=${place.cache}/`));
      assert.match(line, /-o APT::Architecture=amd64/);
    }
  });

  test('asked again, Debian may have a newer kernel; the older one goes', async () => {
    const first = await ensureGuest({ cache: place.cache });
    await offer('6.1.0-2-cloud-amd64', '6.1.9-1');
    assert.equal((await ensureGuest({ cache: place.cache })).version, '6.1.5-1');
    const second = await ensureGuest({ cache: place.cache, refresh: true });
    assert.deepEqual([second.version, second.cached], ['6.1.9-1', false]);
    assert.ok(!existsSync(first.kernel));
    assert.equal((await ensureGuest({ cache: place.cache, refresh: true })).cached, true);
  });

  test("a kernel package's name is a kernel of its own, and the default one stays", async () => {
    const usual = await ensureGuest({ cache: place.cache });
    await offer('6.12.9+deb12-cloud-amd64', '6.12.9-1');
    const kernel = guestKernel('linux-image-6.12.9+deb12-cloud-amd64');
    assert.equal(kernel?.architecture, 'amd64');
    const other = await ensureGuest({ cache: place.cache, ...kernel });
    assert.deepEqual([other.release, other.version], ['6.12.9+deb12-cloud-amd64', '6.12.9-1']);
    assert.deepEqual(other.modules, ['virtio_blk']);
    assert.deepEqual(await ensureGuest({ cache: place.cache }), { ...usual, cached: true });
    assert.deepEqual(await ensureGuest({ cache: place.cache, ...kernel }), { ...other, cached: true });
    assert.match(
      await failure(guestKernel('linux-image-6.2-cloud-amd64')),
      /no linux-image-6\.2-cloud-amd64 for amd64/,
    );
  });

  test('words that name a kernel', () => {
    assert.deepEqual(guestKernel('686-pae'), { architecture: 'i386', flavour: '686-pae' });
    assert.equal(guestKernel('linux-image-6.1.0-50-686')?.architecture, 'i386');
    assert.equal(guestKernel('linux-image-rt-amd64')?.architecture, 'amd64');
    assert.equal(guestKernel('linux-image-rt-686-pae')?.architecture, 'i386');
    assert.equal(guestKernel('linux-image-rt-arm64'), undefined);
    for (const word of ['rt', 'linux-image-amd64', 'linux-image-6.1/../x-amd64', 'linux-image-6.1-arm64', ''])
      assert.equal(guestKernel(word), undefined, word);
  });

  test('without a network a guest in the cache stays in use, and without one the error says what to do', async () => {
    set('offline');
    assert.match(
      await failure(),
      /reached no archive \(Err:1 .*Could not resolve 'archive'\); check the network, or name .*--kernel FILE --initrd FILE/,
    );
    rmSync(join(place.archive, 'offline'));
    const guest = await ensureGuest({ cache: place.cache });
    set('offline');
    const notes: string[] = [];
    const again = await ensureGuest({
      cache: place.cache,
      refresh: true,
      progress: ({ step, text }) => step === 'note' && notes.push(text),
    });
    assert.equal(again.kernel, guest.kernel);
    assert.match(notes.join(), /reached no archive.*stays in use/);
  });

  test('packages in the cache are enough when the recipe has changed', async () => {
    const guest = await ensureGuest({ cache: place.cache });
    const record = join(guest.kernel, '..', 'guest.json');
    writeFileSync(record, readFileSync(record, 'utf8').replace(/"recipe": "\w+"/, '"recipe": "00000000"'));
    rmSync(join(guest.kernel, '..', 'initrd.cpio'));
    set('offline');
    const runs = aptRuns();
    // What stands in the new guest's place is not whole: it must give way.
    const again = await ensureGuest({ cache: place.cache });
    assert.equal(statSync(again.initrd).size, guest.initrdSize);
    assert.equal(aptRuns(), runs);
  });

  test('no apt, no such package, a failed download: one line each, and nothing half-written', async () => {
    rmSync(join(place.archive, 'linux-image-6.1.0-1-cloud-amd64.deb'));
    assert.match(await failure(), /could not download linux-image-6\.1\.0-1-cloud-amd64 \(E: Failed to fetch.*404\)/);
    rmSync(join(place.archive, 'linux-image-cloud-amd64.control'));
    assert.match(await failure(), /have no linux-image-cloud-amd64 for amd64.*--kernel/);
    set('full');
    process.env.PATH = join(root, 'nowhere');
    assert.match(await failure(), /no apt-get on this machine.*--kernel FILE --initrd FILE/);
    process.env.PATH = `${place.bin}:${PATH}`;
    await offer('6.1.0-1-cloud-amd64', '6.1.5-1');
    assert.match(await failure(), /disk is full.*POLYVISOR_CACHE/);
    assert.deepEqual(leftovers(), []);
    assert.ok(!existsSync(join(place.cache, 'packages')));
  });

  /** What is said while the guest is had again. */
  async function again(options: Parameters<typeof ensureGuest>[0] = {}) {
    const notes: string[] = [];
    const progress = ({ step, text }: GuestProgress) => void (step === 'note' && notes.push(text));
    return { guest: await ensureGuest({ cache: place.cache, progress, ...options }), notes: notes.join('\n') };
  }

  test('a damaged package in the cache is thrown out and fetched again', async () => {
    const { kernel } = await ensureGuest({ cache: place.cache });
    const packages = join(place.cache, 'packages');
    const record = join(kernel, '..', '..', 'packages.json');
    for (const digests of [true, false]) {
      rmSync(join(kernel, '..'), { recursive: true });
      const damaged = readdirSync(packages).find(name => name.startsWith('linux'))!;
      const whole = readFileSync(join(packages, damaged));
      writeFileSync(join(packages, damaged), whole.subarray(0, 300));
      // Records of earlier versions have no digests: such a package is known by its own checksums.
      if (!digests) writeFileSync(record, readFileSync(record, 'utf8').replaceAll(/,\s*"digest": "\w+"/g, ''));
      const { guest, notes } = await again();
      assert.match(notes, /linux-image-.*\.deb in the cache is damaged.*fetched again/);
      assert.equal(guest.release, '6.1.0-1-cloud-amd64');
      assert.deepEqual(readFileSync(join(packages, damaged)), whole);
    }
  });

  test('a damaged guest in the cache is made again, from the packages, and that is said', async () => {
    const { kernel, initrd } = await ensureGuest({ cache: place.cache });
    const record = join(kernel, '..', 'guest.json');
    const files = new Map([kernel, initrd, record].map(file => [file, readFileSync(file)]));
    set('offline');
    for (const file of [kernel, initrd])
      for (const damage of ['flip', 'cut', 'empty', 'folder']) {
        const whole = files.get(file)!;
        rmSync(file);
        if (damage === 'flip')
          writeFileSync(
            file,
            whole.map((byte, index) => (index === 5 ? byte ^ 1 : byte)),
          );
        if (damage === 'cut') writeFileSync(file, whole.subarray(0, -1));
        if (damage === 'empty') writeFileSync(file, '');
        if (damage === 'folder') mkdirSync(file);
        const { guest, notes } = await again({ refresh: file === kernel && damage === 'flip' ? false : undefined });
        assert.match(notes, new RegExp(`${file} is not what was written there`));
        assert.equal(guest.kernel, kernel);
        for (const [name, content] of files) assert.deepEqual(readFileSync(name), content, `${name} after ${damage}`);
      }
  });

  test('records of any other shape count as not there', async () => {
    const { kernel } = await ensureGuest({ cache: place.cache });
    const record = join(kernel, '..', 'guest.json');
    const whole = readFileSync(record, 'utf8');
    const { digests, recipe, ...rest } = JSON.parse(whole) as Record<string, object>;
    const shapes: unknown[] = [
      null,
      5,
      [],
      'text',
      {},
      { recipe },
      { recipe, ...rest },
      { recipe, ...rest, digests: 5 },
    ];
    for (const shape of [
      ...shapes,
      { ...rest, recipe, digests, modules: 5 },
      { ...rest, recipe, digests, release: {} },
    ]) {
      writeFileSync(record, JSON.stringify(shape));
      const { guest } = await again();
      assert.deepEqual([guest.kernel, readFileSync(record, 'utf8')], [kernel, whole], JSON.stringify(shape));
    }
    for (const shape of [null, [], { kernel: 5 }, { kernel: { name: 'a', version: 'b', file: '../../x.deb' } }]) {
      rmSync(record);
      writeFileSync(join(kernel, '..', '..', 'packages.json'), JSON.stringify(shape));
      assert.equal((await again()).guest.kernel, kernel);
    }
  });

  test("a cache that others may write to is not used, and that is the guest's error", async () => {
    await ensureGuest({ cache: place.cache });
    chmodSync(place.cache, 0o777);
    assert.match(await failure(), /the cache .* is not used: others may write to it.*POLYVISOR_CACHE/);
  });

  test('a cache that cannot be written is named', async () => {
    writeFileSync(join(place.archive, 'file'), '');
    assert.match(await failure({ cache: join(place.archive, 'file', 'cache') }), /cannot write to .*POLYVISOR_CACHE/);
    assert.match(await failure({ flavour: 'rt' }), /no amd64 kernel.*rt; there is cloud-amd64/);
  });

  test('two at once give one guest', async () => {
    const [one, two] = await Promise.all([ensureGuest({ cache: place.cache }), ensureGuest({ cache: place.cache })]);
    assert.equal(one.kernel, two.kernel);
    assert.deepEqual(leftovers(), []);
  });

  test('Ctrl-C leaves nothing behind, and a killed process is swept up after', async () => {
    set('slow');
    const code = `import(${JSON.stringify(new URL('./guest.js', import.meta.url).href)}).then(m => m.ensureGuest({ cache: ${JSON.stringify(place.cache)} }))`;
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      rmSync(join(place.archive, 'begun'), { force: true });
      const child = spawn(process.execPath, ['-e', code], { stdio: 'ignore' });
      while (!existsSync(join(place.archive, 'begun'))) await new Promise(resolve => setTimeout(resolve, 20));
      const ended = new Promise(resolve => child.on('exit', (_, how) => resolve(how)));
      child.kill(signal);
      assert.equal(await ended, signal);
      assert.equal(leftovers().length, signal === 'SIGINT' ? 0 : 1);
      assert.ok(!existsSync(join(place.cache, 'packages')));
    }
    rmSync(join(place.archive, 'slow'));
    await ensureGuest({ cache: place.cache });
    assert.deepEqual(leftovers(), []);
  });

  test('the cache is where the user says', () => {
    assert.equal(cacheFolder({ POLYVISOR_CACHE: '/a', XDG_CACHE_HOME: '/b' }), '/a');
    assert.equal(cacheFolder({ XDG_CACHE_HOME: '/b' }), '/b/polyvisor');
    assert.match(cacheFolder({}), /\/\.cache\/polyvisor$/);
  });

  test('the default kernels are those that Xen can run', () => {
    assert.deepEqual([GUEST_KERNELS.amd64[0].flavour, GUEST_KERNELS.i386[0].flavour], ['cloud-amd64', '686-pae']);
  });
});
