/** What every file system must do when a 9P client asks: run on each of them by its test. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NinePServer } from '../src/folders/nine-p-server.ts';
import type { FileSystem } from '../src/host/file-system.ts';
import { Client, Refused } from './nine-p-client.ts';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (string: string) => new TextEncoder().encode(string);

export const EPERM = 1;
export const ENOENT = 2;
export const EBADF = 9;
export const EEXIST = 17;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
export const ENAMETOOLONG = 36;
export const ENOTEMPTY = 39;
export const ENODATA = 61;

/** @param errno what `work` must be refused with */
export function refuses(errno: number, work: () => void): void {
  assert.throws(work, error => {
    assert.ok(error instanceof Refused, String(error));
    assert.equal(error.errno, errno);
    return true;
  });
}

export function connect(files: FileSystem) {
  const server = new NinePServer(files, {
    onMistake: error => {
      throw error;
    },
  });
  const client = new Client(server);
  return { server, client, root: client.attach() };
}

/** @param make a file system that is empty and may be written to */
export function fileSystemCases(name: string, make: () => FileSystem): void {
  const given = (title: string, work: (context: ReturnType<typeof connect>) => void) =>
    test(`${name}: ${title}`, () => {
      const files = make();
      const context = connect(files);
      try {
        work(context);
        context.server.reset();
        assert.equal(context.server.fids, 0);
      } finally {
        files.close();
      }
    });

  given('a file is made, written, read, cut and made longer', ({ client, root }) => {
    const file = client.create(root, 'file');
    assert.equal(client.write(file, 0, bytes('hello world')), 11);
    assert.equal(text(client.read(file, 6, 100)), 'world');
    assert.equal(client.read(file, 11, 100).length, 0);
    const named = client.walk(root, 'file');
    client.setattr(named, 8, { size: 5n });
    assert.equal(text(client.read(file, 0, 100)), 'hello');
    client.setattr(named, 8, { size: 8n });
    assert.deepEqual([...client.read(file, 4, 100)], [0x6f, 0, 0, 0]);
    const { size, mode, links } = client.getattr(named);
    assert.deepEqual([size, mode, links], [8n, 0o100644, 1n]);
  });

  given('large and sparse files: offsets of 64 bits, holes of zeros', ({ client, root }) => {
    const file = client.create(root, 'sparse');
    const far = 5_000_000_000;
    client.write(file, far, bytes('end'));
    const { size, blocks } = client.getattr(file);
    assert.equal(size, BigInt(far + 3));
    assert.ok(blocks * 512n < 1_000_000n, `${blocks} blocks`);
    assert.equal(text(client.read(file, far, 10)), 'end');
    assert.deepEqual(client.read(file, far - 70_000, 60_000), new Uint8Array(60_000));
    refuses(27, () => client.write(file, 2n ** 63n, bytes('x')));
    assert.equal(client.read(file, 2n ** 63n, 10).length, 0);
  });

  given('appending ignores where the client thinks the end is', ({ client, root }) => {
    client.clunk(client.create(root, 'log'));
    const [one, two] = [client.open(client.walk(root, 'log'), 0o2001), client.open(client.walk(root, 'log'), 0o2001)];
    client.write(one, 0, bytes('one\n'));
    client.write(two, 0, bytes('two\n'));
    client.write(one, 4, bytes('one\n'));
    assert.equal(text(client.read(client.open(client.walk(root, 'log')), 0, 100)), 'one\ntwo\none\n');
  });

  given('a file without a name lives while a fid names it, and can be opened again', ({ client, root }) => {
    const file = client.create(root, 'temporary');
    client.write(file, 0, bytes('still here'));
    const unopened = client.walk(root, 'temporary');
    client.unlink(root, 'temporary');
    refuses(ENOENT, () => client.walk(root, 'temporary'));
    assert.equal(client.getattr(unopened).links, 0n);
    client.setattr(unopened, 8, { size: 5n });
    assert.equal(text(client.read(client.open(client.walk(file)), 0, 100)), 'still');
    const again = client.open(client.walk(unopened), 2);
    client.write(again, 5, bytes('!'));
    assert.equal(text(client.read(file, 0, 100)), 'still!');
    client.clunk(client.create(root, 'temporary'));
    assert.equal(client.getattr(client.walk(root, 'temporary')).size, 0n);
    assert.equal(client.getattr(unopened).size, 6n);
  });

  given('fids go with what they name when it is renamed, and when a directory above it is', ({ client, root }) => {
    client.mkdir(root, 'a');
    client.mkdir(client.walk(root, 'a'), 'b');
    const b = client.walk(root, 'a', 'b');
    const file = client.create(b, 'file');
    client.write(file, 0, bytes('x'));
    const named = client.walk(b, 'file');
    client.rename(root, 'a', root, 'c');
    client.rename(b, 'file', root, 'moved');
    assert.equal(client.getattr(named).size, 1n);
    client.clunk(client.create(b, 'second'));
    assert.deepEqual(
      client.list(client.walk(root, 'c', 'b')).map(({ name }) => name),
      ['.', '..', 'second'],
    );
    assert.equal(client.getattr(client.walk(b, '..')).qid.path, client.getattr(client.walk(root, 'c')).qid.path);
    refuses(EINVAL, () => client.rename(root, 'c', b, 'inside'));
  });

  given('rename replaces, and only what it may', ({ client, root }) => {
    const old = client.create(root, 'old');
    client.write(old, 0, bytes('old'));
    const fresh = client.create(root, 'new');
    client.write(fresh, 0, bytes('new'));
    client.rename(root, 'new', root, 'old');
    assert.equal(text(client.read(client.open(client.walk(root, 'old')), 0, 10)), 'new');
    assert.equal(text(client.read(old, 0, 10)), 'old');
    assert.equal(client.getattr(old).links, 0n);
    client.mkdir(root, 'empty');
    client.mkdir(root, 'full');
    client.clunk(client.create(client.walk(root, 'full'), 'file'));
    refuses(ENOTEMPTY, () => client.rename(root, 'empty', root, 'full'));
    refuses(ENOTDIR, () => client.rename(root, 'full', root, 'old'));
    refuses(EISDIR, () => client.rename(root, 'old', root, 'empty'));
    refuses(ENOENT, () => client.rename(root, 'nothing', root, 'old'));
    client.rename(root, 'full', root, 'empty');
    assert.equal(client.getattr(client.walk(root, 'empty', 'file')).size, 0n);
    client.rename(root, 'old', root, 'old');
  });

  given('hard links are one object', ({ client, root }) => {
    const file = client.create(root, 'one');
    const named = client.walk(root, 'one');
    client.link(root, named, 'two');
    refuses(EEXIST, () => client.link(root, named, 'two'));
    client.write(file, 0, bytes('shared'));
    const two = client.getattr(client.walk(root, 'two'));
    assert.deepEqual([two.size, two.links, two.qid], [6n, 2n, client.getattr(named).qid]);
    client.rename(root, 'one', root, 'two'); // Two names of one object: both stay.
    client.unlink(root, 'one');
    assert.equal(client.getattr(named).links, 1n);
    client.setattr(named, 1, { mode: 0o600 });
    assert.equal(client.getattr(client.walk(root, 'two')).mode, 0o100600);
    client.mkdir(root, 'directory');
    refuses(EPERM, () => client.link(root, client.walk(root, 'directory'), 'three'));
  });

  given('owners, modes with all their bits, devices and pipes', ({ client, root }) => {
    client.clunk(client.create(root, 'su', 2, 0o4755));
    const su = client.walk(root, 'su');
    client.setattr(su, 6, { uid: 1234, gid: 70_000 });
    client.setattr(su, 1, { mode: 0o6711 });
    const { mode, uid, gid } = client.getattr(client.walk(root, 'su'));
    assert.deepEqual([mode, uid, gid], [0o106711, 1234, 70_000]);
    client.mknod(root, 'null', 0o020666, 1, 3);
    client.mknod(root, 'disk', 0o060660, 259, 0x12345);
    client.mknod(root, 'pipe', 0o010644);
    client.mknod(root, 'socket', 0o140755);
    const kinds = ['null', 'disk', 'pipe', 'socket'].map(name => {
      const { mode, device, size } = client.getattr(client.walk(root, name));
      return [mode.toString(8), device, size];
    });
    const disk = 0x45n | (259n << 8n) | (0x12300n << 12n);
    assert.deepEqual(kinds, [
      ['20666', 0x103n, 0n],
      ['60660', disk, 0n],
      ['10644', 0n, 0n],
      ['140755', 0n, 0n],
    ]);
    refuses(6, () => client.open(client.walk(root, 'null')));
    client.setattr(client.walk(root, 'null'), 1, { mode: 0o600 });
    client.rename(root, 'null', root, 'zero');
    assert.equal(client.getattr(client.walk(root, 'zero')).mode, 0o020600);
    assert.deepEqual(
      client
        .list(root)
        .map(({ name, kind }) => `${name} ${kind}`)
        .sort(),
      [...['. 4', '.. 4', 'disk 6', 'pipe 1', 'socket 12', 'su 8', 'zero 2']],
    );
  });

  given('symbolic links are texts that nobody follows', ({ client, root }) => {
    client.symlink(root, 'out', '../../../../etc/passwd');
    client.symlink(root, 'root', '/');
    client.symlink(root, 'self', 'self');
    assert.equal(client.readlink(client.walk(root, 'out')), '../../../../etc/passwd');
    refuses(40, () => client.open(client.walk(root, 'out')));
    refuses(ENOENT, () => client.walk(root, 'root', 'etc'));
    assert.equal(client.getattr(client.walk(root, 'self')).mode & 0o170000, 0o120000);
    refuses(EINVAL, () => client.setattr(client.walk(root, 'root'), 8, { size: 0n }));
    refuses(EEXIST, () => client.clunk(client.create(root, 'out', 0o202)));
    client.rename(root, 'root', root, 'out');
    assert.equal(client.readlink(client.walk(root, 'out')), '/');
    const held = client.walk(root, 'out');
    client.unlink(root, 'out');
    assert.equal(client.readlink(held), '/');
  });

  given('nothing above the root, no names that are none', ({ client, root }) => {
    const { path } = client.getattr(root).qid;
    assert.equal(client.getattr(client.walk(root, '..', '..', '..')).qid.path, path);
    assert.equal(client.getattr(client.walk(root, '.')).qid.path, path);
    for (const name of ['', '.', '..', 'a/b', '/etc', 'a\0b', '../x']) {
      refuses(EINVAL, () => client.mkdir(root, name));
      refuses(EINVAL, () => client.create(root, name));
      refuses(EINVAL, () => client.symlink(root, name, 'x'));
      refuses(EINVAL, () => client.mknod(root, name, 0o100644));
      refuses(EINVAL, () => client.unlink(root, name));
      refuses(EINVAL, () => client.rename(root, name, root, 'y'));
    }
    refuses(ENAMETOOLONG, () => client.mkdir(root, 'n'.repeat(256)));
    client.mkdir(root, 'n'.repeat(255));
    refuses(EINVAL, () => client.walk(root, 'etc/passwd'));
  });

  given('names that are not UTF-8 keep their bytes', ({ client, root }) => {
    const name = 'caf\xe9 \xff\xfe\n\\';
    client.clunk(client.create(root, name));
    client.symlink(root, 'link', name);
    assert.ok(client.list(root).some(entry => entry.name === name));
    assert.equal(client.readlink(client.walk(root, 'link')), name);
    client.rename(root, name, root, `${name}\x80`);
    assert.equal(client.getattr(client.walk(root, `${name}\x80`)).size, 0n);
  });

  given('a large directory is read in pieces while entries go', ({ client, root }) => {
    client.mkdir(root, 'many');
    const many = client.walk(root, 'many');
    const names = Array.from({ length: 1500 }, (_, index) => `file-${index}`);
    for (const name of names) client.mknod(many, name, 0o100600);
    const seen = client.list(many, 512);
    assert.deepEqual(seen.map(({ name }) => name).sort(), ['.', '..', ...names].sort());
    const ids = new Set(seen.map(({ path }) => path));
    assert.equal(ids.size, names.length + 2);
    refuses(ENOTEMPTY, () => client.unlink(root, 'many', 0x200));
    // As rm -r does: read some, remove them, read on.
    const fid = client.open(client.walk(many));
    assert.equal(
      client.getattr(client.walk(many, 'file-7')).qid.path,
      seen.find(({ name }) => name === 'file-7')!.path,
    );
    for (const { name } of client.list(many, 300)) if (!name.startsWith('.')) client.unlink(many, name);
    assert.equal(client.list(many).length, 2);
    client.clunk(fid);
    client.unlink(root, 'many', 0x200);
    refuses(ENOENT, () => client.walk(root, 'many'));
    assert.equal(client.list(many).length, 2);
    refuses(ENOENT, () => client.mkdir(many, 'x'));
  });

  given('unlink and rmdir are for files and directories', ({ client, root }) => {
    client.mkdir(root, 'directory');
    client.clunk(client.create(root, 'file'));
    refuses(EISDIR, () => client.unlink(root, 'directory'));
    refuses(ENOTDIR, () => client.unlink(root, 'file', 0x200));
    refuses(ENOTDIR, () => client.mkdir(client.walk(root, 'file'), 'x'));
    refuses(ENOENT, () => client.unlink(root, 'nothing'));
    refuses(EEXIST, () => client.mkdir(root, 'file'));
    refuses(EEXIST, () => client.create(root, 'file', 0o302));
    refuses(EISDIR, () => client.open(client.walk(root, 'directory'), 2));
  });

  given('extended attributes take effect when they are closed', ({ client, root }) => {
    client.clunk(client.create(root, 'file'));
    const file = client.walk(root, 'file');
    refuses(ENODATA, () => client.extended(file, 'user.one'));
    assert.equal(client.extended(file, '').length, 0);
    client.setExtended(file, 'user.one', bytes('1'));
    client.setExtended(file, 'user.b\xff', Uint8Array.of(0, 255, 7));
    client.setExtended(file, '__proto__', bytes('none'));
    assert.equal(text(client.extended(file, 'user.one')), '1');
    assert.deepEqual([...client.extended(file, 'user.b\xff')], [0, 255, 7]);
    const names = String.fromCharCode(...client.extended(file, '')).split('\0');
    assert.deepEqual(names.sort(), ['', '__proto__', 'user.b\xff', 'user.one'].sort());
    refuses(EEXIST, () => client.setExtended(file, 'user.one', bytes('2'), 1));
    refuses(ENODATA, () => client.setExtended(file, 'user.two', bytes('2'), 2));
    client.rename(root, 'file', root, 'moved');
    client.setExtended(file, 'user.one', new Uint8Array(0), 2);
    refuses(ENODATA, () => client.extended(client.walk(root, 'moved'), 'user.one'));
    refuses(34, () => client.setExtended(file, 'user.huge', new Uint8Array(70_000)));
  });

  given('times are kept', ({ client, root }) => {
    client.clunk(client.create(root, 'file'));
    const file = client.walk(root, 'file');
    const [atime, mtime] = [1_000_000_001_000_000_000n, 1_234_567_890_123_456_000n];
    client.setattr(file, 0x1b0, { atime, mtime });
    const found = client.getattr(file);
    assert.deepEqual([found.atime, found.mtime], [atime, mtime]);
    assert.ok(found.ctime > mtime);
    client.setattr(file, 0x20, {});
    assert.ok(client.getattr(file).mtime > mtime);
    const before = client.getattr(root).mtime;
    client.setattr(root, 0x120, { mtime: 5_000_000_000n });
    assert.equal(client.getattr(root).mtime, 5_000_000_000n);
    client.mkdir(root, 'new');
    assert.ok(client.getattr(root).mtime >= before);
  });

  given('modes that forbid do not: permissions are the client’s to check', ({ client, root }) => {
    const file = client.create(root, 'secret', 2, 0o000);
    client.write(file, 0, bytes('x'));
    assert.equal(text(client.read(client.open(client.walk(root, 'secret'), 2), 0, 10)), 'x');
    client.mkdir(root, 'closed', 0o500);
    client.clunk(client.create(client.walk(root, 'closed'), 'file'));
    assert.deepEqual(
      [client.getattr(client.walk(root, 'closed')).mode, client.getattr(client.walk(root, 'secret')).mode],
      [0o040500, 0o100000],
    );
    client.setattr(client.walk(root, 'closed'), 1, { mode: 0o700 });
  });
}
