import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { makeModule } from '../../boot/guest/testing.ts';
import { installedModules, readKernelModules } from './kernel-modules.ts';
import { findKernelTree } from './kernel-tree.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-modules-'));
after(() => rmSync(folder, { recursive: true }));

function install(release: string, modules: readonly { path: string; data: Uint8Array }[]): string {
  const path = join(folder, release, 'lib/modules', release);
  for (const { path: name, data } of modules) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), data);
  }
  return path;
}

test('the modules that a guest may need, and what they need, by either folder', async () => {
  const path = install('6.1-own', [makeModule('virtio'), makeModule('virtio_blk', ['virtio']), makeModule('unwanted')]);
  for (const named of [path, join(folder, '6.1-own')]) {
    const { release, modules } = await readKernelModules(named);
    assert.equal(release, '6.1-own');
    assert.deepEqual(
      modules.map(({ name }) => name),
      ['virtio', 'virtio_blk'],
    );
  }
});

test('a source tree: the kernel, its symbols, and modules by the names that its versions write down', async () => {
  const tree = join(folder, 'tree');
  const put = (name: string, data: string | Uint8Array) => {
    mkdirSync(dirname(join(tree, name)), { recursive: true });
    writeFileSync(join(tree, name), data);
  };
  mkdirSync(tree);
  assert.throws(
    () => findKernelTree(tree),
    /tree is a folder without arch\/x86\/boot\/bzImage or vmlinux in it: build/,
  );
  put('vmlinux', 'ELF');
  assert.deepEqual(findKernelTree(tree), { kernel: join(tree, 'vmlinux'), symbols: undefined, hasModules: false });
  put('arch/x86/boot/bzImage', 'HdrS');
  put('System.map', '');
  put('include/config/kernel.release', '6.1.0-own+\n');
  put('drivers/block/virtio_blk.ko', makeModule('virtio_blk', ['virtio']).data);
  put('drivers/virtio/virtio.ko', makeModule('virtio').data);
  for (const order of [
    'drivers/block/virtio_blk.o\ndrivers/virtio/virtio.o\ndrivers/not/built.o\n',
    'kernel/drivers/block/virtio_blk.ko\nkernel/drivers/virtio/virtio.ko\n',
  ]) {
    put('modules.order', order);
    const found = { kernel: join(tree, 'arch/x86/boot/bzImage'), symbols: join(tree, 'System.map'), hasModules: true };
    assert.deepEqual(findKernelTree(tree), found);
    const { release, modules } = await readKernelModules(tree);
    assert.equal(release, '6.1.0-own+');
    assert.deepEqual(
      modules.map(({ path }) => path),
      ['kernel/drivers/virtio/virtio.ko', 'kernel/drivers/block/virtio_blk.ko'],
    );
  }
});

test('what has none is refused', async () => {
  mkdirSync(join(folder, 'empty/kernel'), { recursive: true });
  await assert.rejects(readKernelModules(join(folder, 'empty')), /no kernel modules/);
  mkdirSync(join(folder, 'nothing'));
  await assert.rejects(readKernelModules(join(folder, 'nothing')), /neither modules nor/);
  await assert.rejects(readKernelModules(join(folder, 'none')), { code: 'ENOENT' });
  assert.equal(installedModules('/home/me/bzImage'), undefined);
  assert.equal(installedModules('/boot/vmlinuz-0.0-none'), undefined);
});
