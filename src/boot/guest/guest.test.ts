import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'fflate';
import { readCpio, S_IFDIR } from '../cpio.ts';
import { ImageError } from '../image-error.ts';
import { randomNumbers, text } from '../testing.ts';
import { busyboxApplets } from './applets.ts';
import { readDeb } from './deb.ts';
import { buildInitramfs } from './initramfs.ts';
import { allDependencies, type Module, moduleName, modulesAlias, modulesDep, selectModules } from './modules.ts';
import { BUSYBOX, makeAr, makeDeb, makeModule } from './testing.ts';

const FILES = [
  makeModule('virtio'),
  makeModule('virtio_ring'),
  makeModule('virtio_pci', ['virtio', 'virtio_ring'], ['pci:v00001AF4d*sv*sd*bc*sc*i*']),
  makeModule('virtio_blk', ['virtio-ring', 'virtio'], ['virtio:d00000002v*']),
  makeModule('xen_blkfront', [], ['xen:vbd', 'block-major-202-*']),
  makeModule('xenfs', ['xen_privcmd']),
  makeModule('xen_privcmd'),
  makeModule('odd', [], ['pci:v1; rm -rf /', 'xen:$(x)']),
  makeModule('unwanted'),
];
const WANTED = ['virtio_blk', 'virtio_pci', 'xen_blkfront', 'xenfs', 'odd', 'absent'];

test('a package gives the files that are wanted, without its folders', async () => {
  const deb = await makeDeb({ './boot/vmlinuz-6.1': 'kernel', './boot/config-6.1': 'config', './lib/x.ko': 'module' });
  const files = await readDeb(deb, path => !path.includes('config'));
  assert.deepEqual(
    files.map(({ path, data }) => [path, new TextDecoder().decode(data)]),
    [
      ['boot/vmlinuz-6.1', 'kernel'],
      ['lib/x.ko', 'module'],
    ],
  );
});

test('a damaged package is an ImageError', async () => {
  const deb = await makeDeb({ './boot/vmlinuz-6.1': 'kernel'.repeat(500) });
  const random = randomNumbers(11);
  for (let round = 0; round < 200; round++) {
    const damaged = round % 2 ? deb.slice(0, random(deb.length)) : deb.slice();
    for (let flips = 0; flips < 4 && damaged.length > 0; flips++) damaged[random(damaged.length)] = random(256);
    await readDeb(damaged, () => true).catch(error =>
      assert.ok(error instanceof ImageError, `${error?.stack ?? error}`),
    );
  }
  await assert.rejects(
    readDeb(text('not a package'), () => true),
    ImageError,
  );
  await assert.rejects(
    readDeb(makeAr({ 'debian-binary': text('2.0\n') }), () => true),
    /no data\.tar/,
  );
});

test('modules come with what they need, in loading order', async () => {
  const modules = await selectModules(FILES, WANTED);
  assert.deepEqual(
    modules.map(({ name }) => name),
    ['virtio_ring', 'virtio', 'virtio_blk', 'virtio_pci', 'xen_blkfront', 'xen_privcmd', 'xenfs', 'odd'],
  );
  const block = modules.find(({ name }) => name === 'virtio_blk')!;
  assert.deepEqual(
    allDependencies(block, modules).map(({ name }) => name),
    ['virtio_ring', 'virtio'],
  );
  assert.match(
    modulesDep(modules),
    /^kernel\/drivers\/virtio-blk\.ko: kernel\/drivers\/virtio\.ko kernel\/drivers\/virtio-ring\.ko$/m,
  );
  assert.match(modulesAlias(modules), /^alias xen:vbd xen_blkfront$/m);
});

test('a packed module is unpacked, and a circle of needs ends', async () => {
  const packed = { path: 'kernel/a.ko.gz', data: gzipSync(makeModule('a', ['b']).data) };
  const modules = await selectModules([packed, makeModule('b', ['a'])], ['a']);
  assert.deepEqual(
    modules.map(({ name, path }) => [name, path]),
    [
      ['b', 'kernel/drivers/b.ko'],
      ['a', 'kernel/a.ko'],
    ],
  );
  assert.equal(moduleName('kernel/drivers/block/xen-blkfront.ko.xz'), 'xen_blkfront');
  assert.equal(moduleName('modules.order'), undefined);
});

test("busybox's names are the longest sorted run", () => {
  assert.deepEqual(busyboxApplets(BUSYBOX), ['[', '[[', 'ash', 'cat', 'poweroff', 'sh']);
  assert.throws(() => busyboxApplets(text('no such table')), ImageError);
});

async function build(modules?: Module[]) {
  const parts = { release: '6.1.0-test', busybox: BUSYBOX, modules: modules ?? (await selectModules(FILES, WANTED)) };
  const entries = readCpio(buildInitramfs(parts));
  return {
    entries,
    content: (name: string) => new TextDecoder().decode(entries.find(entry => entry.name === name)!.data as Uint8Array),
  };
}

test('the initramfs has every folder before what is in it, and no name twice', async () => {
  const { entries, content } = await build();
  const seen = new Set<string>(['']);
  for (const { name, mode } of entries) {
    assert.ok(!seen.has(name), name);
    assert.ok(seen.has(name.slice(0, Math.max(0, name.lastIndexOf('/')))), `${name} comes before its folder`);
    if ((mode & 0o170000) === S_IFDIR || name) seen.add(name);
  }
  assert.equal(content('bin/poweroff'), 'busybox');
  assert.deepEqual(entries.find(({ name }) => name === 'dev/console')!.device, [5, 1]);
  assert.ok(entries.some(({ name }) => name === 'lib/modules/6.1.0-test/kernel/drivers/virtio-blk.ko'));
});

test('/init matches devices with modules, each after what it needs', async () => {
  const init = (await build()).content('init');
  assert.match(
    init,
    /^ {2}virtio:d00000002v\*\)\n {4}load virtio_ring kernel\/drivers\/virtio-ring\.ko virtio \S+ virtio_blk \S+ ;;$/m,
  );
  assert.match(init, /^ {2}xen:vbd\)$/m);
  assert.match(init, /load xen_privcmd \S+ xenfs \S+\n {2}mount -t xenfs/);
  assert.ok(!init.includes('rm -rf') && !init.includes('$(x)'), "a module's alias is no shell code");
});

test('without modules /init is still whole', async () => {
  const init = (await build([])).content('init');
  assert.ok(!init.includes('xenfs'));
  assert.match(init, /case \$1 in\n {2}esac/);
});
