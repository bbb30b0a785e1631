import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'fflate';
import { packTar, type TarEntry } from 'modern-tar';
import { connect } from '../../tests/file-system-cases.ts';
import { ImageError } from '../boot/image-error.ts';
import { createRandom } from '../conformance/random.ts';
import { unpackInto } from './archive.ts';
import { MemoryFileSystem } from './memory-file-system.ts';

const file = (name: string, body = name, more: Partial<TarEntry['header']> = {}): TarEntry => ({
  header: { name, size: body.length, mode: 0o640, type: 'file', uid: 5, gid: 6, mtime: new Date(1e12), ...more },
  body,
});
const other = (name: string, type: NonNullable<TarEntry['header']['type']>, linkname = ''): TarEntry => ({
  header: { name, size: 0, type, linkname, mode: 0o755, mtime: new Date(1e12) },
});

async function unpacked(...archives: TarEntry[][]) {
  const files = new MemoryFileSystem({ now: () => 0n });
  for (const entries of archives) await unpackInto(files, await packTar(entries), archives.length > 1);
  const { client, root } = connect(files);
  const read = (...path: string[]) => {
    const fid = client.open(client.walk(root, ...path));
    return String.fromCharCode(...client.read(fid, 0, 1000));
  };
  const names = (...path: string[]) =>
    client
      .list(client.walk(root, ...path))
      .map(({ name }) => name)
      .slice(2)
      .sort();
  return { client, root, read, names };
}

test('files, directories, links and what belongs to them', async () => {
  const { client, root, read, names } = await unpacked([
    other('./', 'directory'),
    file('./etc/passwd'),
    file('usr/bin/tool'),
    other('bin', 'symlink', 'usr/bin'),
    other('usr/bin/hard', 'link', 'usr/bin/tool'),
    other('pipe', 'fifo'),
    file('bin/through'),
  ]);
  assert.deepEqual(names(), ['bin', 'etc', 'pipe', 'usr']);
  assert.deepEqual(names('usr', 'bin'), ['hard', 'through', 'tool']);
  assert.equal(read('usr', 'bin', 'hard'), 'usr/bin/tool');
  const { mode, uid, gid, links, mtime } = client.getattr(client.walk(root, 'usr', 'bin', 'hard'));
  assert.deepEqual([mode, uid, gid, links, mtime], [0o100640, 5, 6, 2n, 10n ** 18n]);
  assert.equal(client.readlink(client.walk(root, 'bin')), 'usr/bin');
});

test('names that climb are refused; links that lead out lead to the top of the tree', async () => {
  for (const name of ['../x', 'a/../../x', '/../x', './..'])
    await assert.rejects(unpacked([file(name)]), (error: Error) => {
      assert.ok(error instanceof ImageError);
      assert.match(error.message, /climbs out/);
      return true;
    });
  const { names } = await unpacked([
    other('out', 'symlink', '../../../../etc'),
    file('out/planted'),
    other('loop', 'symlink', 'loop'),
    file('loop/file'),
    file('/absolute'),
  ]);
  // There is no /etc in this tree: the link gives way to a directory.
  assert.deepEqual([names(), names('out'), names('loop')], [['absolute', 'loop', 'out'], ['planted'], ['file']]);
  await assert.rejects(unpacked([other('hard', 'link', '../../etc/passwd')]), /climbs out/);
  await assert.rejects(unpacked([other('hard', 'link', 'none')]), /no "none" to link to/);
});

test('layers: whiteouts remove, opaque directories begin anew, files replace', async () => {
  const { read, names } = await unpacked(
    [file('a/one'), file('a/two'), file('b/one'), file('c'), file('d/x')],
    [
      file('a/.wh.one', ''),
      file('b/.wh..wh..opq', ''),
      file('b/new'),
      file('c/now/a/directory'),
      file('d', 'now a file'),
    ],
  );
  assert.deepEqual([names('a'), names('b'), names('c', 'now', 'a')], [['two'], ['new'], ['directory']]);
  assert.equal(read('d'), 'now a file');
});

test('an archive that is cut off, or whose sizes are not true, is refused', async () => {
  const whole = await packTar([file('a', 'x'.repeat(2000)), file('b', 'y'.repeat(600))]);
  const refused = async (bytes: Uint8Array, reason: RegExp) =>
    assert.rejects(unpackInto(new MemoryFileSystem(), bytes, false), reason);
  for (const length of [512, 1024, 2560 + 1024])
    await refused(whole.slice(0, length), /damaged: it is cut off in "[ab]"/);
  await refused(whole.slice(0, 2570), /damaged: it is cut off/);
  const lying = whole.slice();
  lying.set(new TextEncoder().encode('77777777777\0'), 124);
  await refused(lying, /cut off in "a", of 8589934591 bytes/);
});

test('what is damaged is refused, or unpacked: nothing else', async () => {
  const random = createRandom(3n);
  const original = await packTar([file('a/b', 'x'.repeat(2000)), other('l', 'symlink', 'a'), file('l/c')]);
  for (let round = 0; round < 300; round++) {
    const bytes = original.slice(0, random.below(2) ? original.length : random.below(original.length));
    for (let flips = random.below(6); flips > 0 && bytes.length > 0; flips--)
      bytes[random.below(Math.min(bytes.length, 3000))] = random.below(256);
    await unpackInto(new MemoryFileSystem(), random.below(2) ? bytes : gzipSync(bytes), false).catch(error =>
      assert.ok(error instanceof ImageError, `${error?.stack}`),
    );
  }
});
