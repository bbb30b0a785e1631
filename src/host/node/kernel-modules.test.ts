import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { makeModule } from '../../boot/guest/testing.ts';
import { installedModules, readKernelModules } from './kernel-modules.ts';

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

test('what has none is refused', async () => {
  mkdirSync(join(folder, 'empty/kernel'), { recursive: true });
  await assert.rejects(readKernelModules(join(folder, 'empty')), /no kernel modules/);
  mkdirSync(join(folder, 'nothing'));
  await assert.rejects(readKernelModules(join(folder, 'nothing')), /neither modules nor/);
  await assert.rejects(readKernelModules(join(folder, 'none')), { code: 'ENOENT' });
  assert.equal(installedModules('/home/me/bzImage'), undefined);
  assert.equal(installedModules('/boot/vmlinuz-0.0-none'), undefined);
});
