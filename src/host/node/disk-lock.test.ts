import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { openDiskFile } from './disk-file.ts';
import { DiskInUseError } from './disk-lock.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-lock-'));

describe('locks on disk images', () => {
  after(() => rmSync(folder, { recursive: true }));

  function image(name: string): string {
    const path = join(folder, name);
    writeFileSync(path, new Uint8Array(512));
    return path;
  }
  const refuses = (path: string, options: Parameters<typeof openDiskFile>[1], says: RegExp) =>
    assert.throws(
      () => openDiskFile(path, options),
      (error: Error) => error instanceof DiskInUseError && says.test(error.message),
    );

  test('one writer, whatever the name it comes by; it is free again when it is closed', () => {
    const path = image('one');
    const [soft, hard] = [join(folder, 'soft'), join(folder, 'hard')];
    symlinkSync(path, soft);
    linkSync(path, hard);
    const disk = openDiskFile(path);
    for (const name of [path, soft, hard]) {
      refuses(name, {}, /in use by this process already: the same image is given twice/);
      refuses(name, { readOnly: true }, /given twice/);
    }
    disk.close();
    openDiskFile(hard).close();
  });

  test('readers share, and keep writers away', () => {
    const path = image('readers');
    const readers = [1, 2].map(() => openDiskFile(path, { readOnly: true }));
    refuses(path, {}, /given twice/);
    for (const reader of readers) reader.close();
    openDiskFile(path).close();
  });

  test('with share nobody is refused; but who does not share is', () => {
    const path = image('shared');
    const disks = [openDiskFile(path, { share: true }), openDiskFile(path, { share: true })];
    refuses(path, {}, /given twice/);
    for (const disk of disks) disk.close();
    const alone = openDiskFile(path);
    openDiskFile(path, { share: true }).close();
    alone.close();
  });

  test('an image that is refused for what it is is not locked', () => {
    const path = join(folder, 'odd');
    writeFileSync(path, 'odd');
    assert.throws(() => openDiskFile(path), /sector/);
    writeFileSync(path, new Uint8Array(512));
    openDiskFile(path).close();
  });

  /** Another process that has the image open until it is killed. */
  async function holder(path: string): Promise<ChildProcess> {
    const module = new URL('./disk-file.js', import.meta.url).href;
    const program = `import(${JSON.stringify(module)}).then(({ openDiskFile }) => {
      globalThis.disk = openDiskFile(process.argv[1]);
      console.log('open');
      setInterval(() => {}, 1000);
    })`;
    const child = spawn(process.execPath, ['-e', program, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout!, 'data');
    return child;
  }

  test('another process is named; when it is killed, nothing of its lock stays', { timeout: 60_000 }, async () => {
    const path = image('other');
    const child = await holder(path);
    refuses(path, {}, new RegExp(`in use by process ${child.pid} \\(.*node.*-e import`));
    refuses(path, { readOnly: true }, new RegExp(`process ${child.pid} `));
    child.kill('SIGKILL');
    await once(child, 'close');
    openDiskFile(path).close();
  });
});
