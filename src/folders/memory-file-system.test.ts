import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, ENOENT, fileSystemCases, refuses } from '../../tests/file-system-cases.ts';
import { ERRNO, FileError, S_IFDIR, S_IFREG, toBytes } from '../host/file-system.ts';
import { MemoryFileSystem } from './memory-file-system.ts';

fileSystemCases('in memory', () => new MemoryFileSystem());
fileSystemCases('a layer', () => new MemoryFileSystem({ lower: new MemoryFileSystem() }));

function filled() {
  const lower = new MemoryFileSystem();
  const { client, root, server } = connect(lower);
  client.mkdir(root, 'etc');
  const etc = client.walk(root, 'etc');
  for (const name of ['one', 'two', 'three']) client.write(client.create(etc, name), 0, toBytes(name));
  client.link(root, client.walk(etc, 'one'), 'linked');
  client.mkdir(root, 'var');
  const large = client.create(client.walk(root, 'var'), 'large');
  for (let at = 0; at < 200_000; at += 50_000) client.write(large, at, new Uint8Array(50_000).fill(7));
  server.reset();
  return lower;
}

/** All that is in a file system, as text. */
function dump(files: MemoryFileSystem): string {
  const { client, root, server } = connect(files);
  const lines: string[] = [];
  const visit = (directory: number, path: string) => {
    for (const { name } of client.list(directory).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (name === '.' || name === '..') continue;
      const fid = client.walk(directory, name);
      const { mode, links, size, mtime, ctime } = client.getattr(fid);
      lines.push(`${path}/${name} ${mode.toString(8)} ${links} ${size} ${mtime} ${ctime}`);
      if ((mode & 0o170000) === S_IFDIR) visit(fid, `${path}/${name}`);
      else lines.push(String(client.read(client.open(fid), 0, 60_000)));
    }
  };
  visit(root, '');
  server.reset();
  return lines.join('\n');
}

test('a layer shows what is below until it is changed, and changes nothing below', () => {
  const lower = filled();
  const before = dump(lower);
  const { client, root } = connect(new MemoryFileSystem({ lower }));
  const names = (...path: string[]) =>
    client
      .list(client.walk(root, ...path))
      .map(({ name }) => name)
      .slice(2)
      .sort();
  assert.deepEqual(names('etc'), ['one', 'three', 'two']);

  const large = client.open(client.walk(root, 'var', 'large'), 2);
  const reader = client.open(client.walk(root, 'var', 'large'));
  assert.equal(client.read(reader, 100_000, 1)[0], 7);
  client.write(large, 100_000, Uint8Array.of(1));
  assert.deepEqual([...client.read(reader, 99_999, 3)], [7, 1, 7]);
  assert.deepEqual([...client.read(reader, 199_999, 3)], [7]);
  client.setattr(large, 8, { size: 10n });
  client.setattr(large, 8, { size: 20n });
  assert.deepEqual([...client.read(reader, 8, 4)], [7, 7, 0, 0]);

  const etc = client.walk(root, 'etc');
  client.unlink(etc, 'two');
  refuses(ENOENT, () => client.walk(etc, 'two'));
  client.rename(etc, 'three', root, 'two');
  assert.deepEqual([names(), names('etc')], [['etc', 'linked', 'two', 'var'], ['one']]);
  client.clunk(client.create(etc, 'two'));
  assert.equal(client.getattr(client.walk(etc, 'two')).size, 0n);

  // Both names of one object below are one object here, too.
  const linked = client.open(client.walk(root, 'linked'), 2);
  client.write(linked, 0, toBytes('ONE'));
  assert.deepEqual(client.read(client.open(client.walk(etc, 'one')), 0, 9), toBytes('ONE'));
  client.unlink(etc, 'one');
  assert.equal(client.getattr(linked).links, 1n);

  client.rename(root, 'var', etc, 'moved');
  assert.deepEqual(names('etc', 'moved'), ['large']);
  refuses(ENOENT, () => client.walk(root, 'var'));
  client.unlink(client.walk(etc, 'moved'), 'large');
  client.unlink(etc, 'moved', 0x200);
  assert.equal(dump(lower), before);
});

test('what is looked at in a layer and let go is let go below, too', () => {
  const lower = filled();
  const retained: number[] = [];
  let sum = 0;
  const counted = new Proxy(lower, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...words: unknown[]) => {
        if (name === 'lookup' || name === 'retain') sum++;
        if (name === 'release') sum--;
        return value.apply(target, words);
      };
    },
  });
  const { client, root, server } = connect(new MemoryFileSystem({ lower: counted }));
  retained.push(sum);
  for (let round = 0; round < 3; round++) {
    for (const path of [['etc', 'one'], ['var', 'large'], ['etc'], ['etc', 'three']])
      client.clunk(client.walk(root, ...path));
    retained.push(sum);
  }
  server.reset();
  assert.deepEqual(new Set(retained), new Set([1]));
});

test('the memory has an end: ENOSPC, and what is removed gives it back', () => {
  const { client, root } = connect(new MemoryFileSystem({ limit: 400_000 }));
  const file = client.create(root, 'file');
  const piece = new Uint8Array(60_000);
  let size = 0;
  refuses(ERRNO.ENOSPC, () => {
    for (;;) size += client.write(file, size, piece);
  });
  assert.ok(size >= 240_000 && size <= 400_000, `${size} bytes`);
  client.unlink(root, 'file');
  client.clunk(file);
  const again = client.create(root, 'again');
  for (let at = 0; at < 240_000; at += 60_000) client.write(again, at, piece);
  refuses(ERRNO.ENOSPC, () => {
    for (let number = 0; ; number++) client.mknod(root, `empty-${number}`, S_IFREG | 0o600);
  });
});

test('a file of a source is the source until it is written to', () => {
  const files = new MemoryFileSystem();
  const inode = files.create(files.root, 'file', { mode: S_IFREG | 0o644, uid: 0, gid: 0 });
  const source = toBytes('from an archive');
  files.fill(inode, {
    size: source.length,
    read: (offset, into) => into.set(source.subarray(offset, offset + into.length)),
  });
  const { client, root } = connect(files);
  const file = client.open(client.walk(root, 'file'), 2);
  client.write(file, 5, toBytes('the'));
  assert.deepEqual(client.read(file, 0, 100), toBytes('from thearchive'));
  assert.deepEqual(source, toBytes('from an archive'));
});

test('errors have Linux’s numbers', () => {
  assert.equal(new FileError('ENOTEMPTY').errno, 39);
  assert.equal(new FileError('EDQUOT', 'no more').message, 'EDQUOT: no more');
});
