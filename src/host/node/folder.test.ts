import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect, ENOENT, fileSystemCases, refuses } from '../../../tests/file-system-cases.ts';
import { MemoryFileSystem } from '../../folders/memory-file-system.ts';
import { FileError, toBytes } from '../file-system.ts';
import { METADATA_NAME } from './file-metadata.ts';
import { openFolder } from './folder.ts';

const all = mkdtempSync(join(tmpdir(), 'polyvisor-folder-'));
after(() => rmSync(all, { recursive: true, force: true }));
const makeFolder = () => mkdtempSync(join(all, 'shared-'));

fileSystemCases('a folder', () => openFolder(makeFolder()));
fileSystemCases(
  'a layer above a folder',
  () => new MemoryFileSystem({ lower: openFolder(makeFolder(), { readOnly: true }) }),
);

test('a folder that is shared read-only is not written to', () => {
  const folder = makeFolder();
  writeFileSync(join(folder, 'file'), 'content');
  const { client, root } = connect(openFolder(folder, { readOnly: true }));
  const file = client.walk(root, 'file');
  const before = lstatSync(join(folder, 'file'), { bigint: true });
  for (const work of [
    () => client.open(client.walk(file), 2),
    () => client.setattr(file, 8, { size: 0n }),
    () => client.setattr(file, 1, { mode: 0o777 }),
    () => client.create(root, 'new'),
    () => client.mkdir(root, 'new'),
    () => client.unlink(root, 'file'),
    () => client.rename(root, 'file', root, 'new'),
    () => client.link(root, file, 'new'),
    () => client.setExtended(file, 'user.x', toBytes('x')),
  ])
    refuses(30, work);
  assert.deepEqual(readdirSync(folder), ['file']);
  assert.deepEqual(lstatSync(join(folder, 'file'), { bigint: true }), before);
});

test('what the host keeps nowhere stands in a file that guests do not see, and outlives them', () => {
  const folder = makeFolder();
  {
    const { client, root } = connect(openFolder(folder));
    client.mknod(root, 'null', 0o020666, 1, 3);
    client.clunk(client.create(root, 'su', 2, 0o4711));
    client.setExtended(client.walk(root, 'su'), 'user.note', toBytes('kept'));
    assert.deepEqual(
      client.list(root).map(({ name }) => name),
      ['.', '..', 'null', 'su'],
    );
    refuses(ENOENT, () => client.walk(root, METADATA_NAME));
    refuses(13, () => client.create(root, METADATA_NAME));
    refuses(13, () => client.rename(root, 'su', root, `${METADATA_NAME}.new`));
    refuses(13, () => client.unlink(root, METADATA_NAME));
  }
  const { mode } = statSync(join(folder, 'su'));
  assert.equal(mode & 0o7777, 0o711, 'no set-user-ID bit of a guest’s on the host');
  assert.ok(lstatSync(join(folder, 'null')).isFile());
  renameSync(join(folder, 'su'), join(folder, 'renamed'));
  const { client, root } = connect(openFolder(folder));
  assert.equal(client.getattr(client.walk(root, 'null')).mode, 0o020666);
  assert.equal(client.getattr(client.walk(root, 'renamed')).mode, 0o104711);
  assert.deepEqual(client.extended(client.walk(root, 'renamed'), 'user.note'), toBytes('kept'));
  // A new file of the same name, and perhaps number, inherits nothing.
  client.unlink(root, 'null');
  client.clunk(client.create(root, 'null'));
  assert.equal(client.getattr(client.walk(root, 'null')).mode, 0o100644);
  writeFileSync(
    join(folder, METADATA_NAME),
    'no JSON\n{}\n{"file":1}\n[1,2]\nnull\n{"file":"x","mode":"y","extended":7}\n',
  );
  assert.equal(connect(openFolder(folder)).client.list(1).length, 4);
});

test('a directory that becomes a link while it is in use leads nowhere', () => {
  const [folder, outside] = [makeFolder(), makeFolder()];
  writeFileSync(join(outside, 'secret'), 'secret');
  mkdirSync(join(folder, 'a/b'), { recursive: true });
  writeFileSync(join(folder, 'a/b/secret'), 'ours');
  const { client, root, server } = connect(openFolder(folder));
  const file = client.walk(root, 'a', 'b', 'secret');
  const directory = client.walk(root, 'a', 'b');
  renameSync(join(folder, 'a'), join(folder, 'elsewhere'));
  mkdirSync(join(folder, 'a'));
  symlinkSync(outside, join(folder, 'a/b'));
  // The directories are open: what is in them is what it was.
  assert.deepEqual(client.read(client.open(client.walk(file)), 0, 100), toBytes('ours'));
  client.clunk(client.create(directory, 'new'));
  assert.deepEqual(readdirSync(outside), ['secret']);
  assert.deepEqual(readdirSync(join(folder, 'elsewhere/b')).sort(), ['new', 'secret']);
  // Anew, the link is a link.
  assert.equal(client.getattr(client.walk(root, 'a', 'b')).mode & 0o170000, 0o120000);
  refuses(ENOENT, () => client.walk(root, 'a', 'b', 'secret'));
  server.reset();
});

test('a link in place of what was found is not followed, nor is anything done to what it points to', () => {
  const [folder, outside] = [makeFolder(), makeFolder()];
  writeFileSync(join(outside, 'target'), 'outside', { mode: 0o600 });
  writeFileSync(join(folder, 'file'), 'inside');
  mkdirSync(join(folder, 'directory'));
  const { client, root } = connect(openFolder(folder));
  const [file, directory] = [client.walk(root, 'file'), client.walk(root, 'directory')];
  rmSync(join(folder, 'file'));
  rmSync(join(folder, 'directory'), { recursive: true });
  symlinkSync(join(outside, 'target'), join(folder, 'file'));
  symlinkSync(outside, join(folder, 'directory'));
  for (const work of [
    () => client.open(client.walk(file), 2),
    () => client.setattr(file, 1, { mode: 0o777 }),
    () => client.setattr(file, 8, { size: 0n }),
    () => client.setattr(file, 0x1b0, { atime: 5n, mtime: 5n }),
    () => client.getattr(file),
    () => client.create(directory, 'new'),
    () => client.walk(directory, 'target'),
    () => client.unlink(directory, 'target'),
    () => client.list(directory),
  ])
    assert.throws(work, /errno (?:20|116)/);
  assert.equal(readFileSync(join(outside, 'target'), 'utf8'), 'outside');
  assert.equal(statSync(join(outside, 'target')).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(outside), ['target']);
  // To the link itself the same may be done.
  const link = client.walk(root, 'file');
  client.setattr(link, 0x1b0, { atime: 5_000_000_000n, mtime: 5_000_000_000n });
  assert.ok(statSync(join(outside, 'target')).mtimeMs > 10_000);
});

test('a folder that vanishes while it is in use: errors, and nothing else', () => {
  const folder = makeFolder();
  mkdirSync(join(folder, 'inner'));
  writeFileSync(join(folder, 'inner/file'), 'content');
  const { client, root } = connect(openFolder(folder));
  const inner = client.walk(root, 'inner');
  const file = client.walk(inner, 'file');
  const open = client.open(client.walk(file), 2);
  rmSync(folder, { recursive: true });
  assert.deepEqual(
    client.list(root).map(({ name }) => name),
    ['.', '..'],
  );
  for (const work of [
    () => client.walk(root, 'inner'),
    () => client.walk(inner, 'file'),
    () => client.create(root, 'new'),
    () => client.mkdir(inner, 'new'),
    () => client.open(client.walk(file)),
    () => client.unlink(inner, 'file'),
  ])
    refuses(ENOENT, work);
  // What is open goes on.
  assert.equal(new TextDecoder().decode(client.read(open, 0, 100)), 'content');
});

/** In a process of somebody who may not: what `refuses` asks for there. */
const AS_NOBODY = `
import { openFolder } from '${new URL('./folder.js', import.meta.url)}';
import { connect } from '${new URL('../../../tests/file-system-cases.js', import.meta.url)}';
const { client, root } = connect(openFolder(process.argv[1]));
const tried = [() => client.open(client.walk(root, 'secret')), () => client.walk(client.walk(root, 'closed'), 'file'), () => client.create(root, 'new')];
for (const work of tried) {
  try {
    work();
    console.log('done');
  } catch (error) {
    console.log(error.errno ?? error.message);
  }
}
console.log(client.list(root).length);
`;
const NOBODY = 65534;
const mayBecomeAnother = process.getuid?.() === 0;

test('what the host forbids is forbidden to the guest, whoever it is there', {
  skip: !mayBecomeAnother && 'only root can be somebody else',
}, () => {
  const folder = makeFolder();
  for (const path of [all, folder]) chmodSync(path, 0o755);
  mkdirSync(join(folder, 'closed'), { mode: 0o700 });
  for (const [name, path] of Object.entries({ file: 'closed/file', secret: 'secret' }))
    writeFileSync(join(folder, path), name, { mode: 0o600 });
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', AS_NOBODY, folder], {
    ...{ uid: NOBODY, gid: NOBODY, encoding: 'utf8' },
  });
  assert.equal(said, '13\n13\n13\n4\n');
});

test('deep trees and many open files take few descriptors', () => {
  const folder = makeFolder();
  const { client, root, server } = connect(openFolder(folder));
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  let directory = root;
  const directories: number[] = [];
  for (let depth = 0; depth < 400; depth++) {
    client.mkdir(directory, 'd');
    directory = client.walk(directory, 'd');
    directories.push(directory);
  }
  const files = Array.from({ length: 600 }, (_, index) => client.create(directory, `file-${index}`));
  for (const [index, file] of files.entries()) client.write(file, 0, toBytes(`${index}`));
  assert.ok(descriptors() < before + 700, `${descriptors()} descriptors`);
  client.rename(directories[0], 'd', root, 'e');
  for (const [index, file] of files.entries()) assert.deepEqual(client.read(file, 0, 9), toBytes(`${index}`));
  client.rename(directory, 'file-7', root, 'top');
  assert.deepEqual(client.read(client.open(client.walk(root, 'top')), 0, 9), toBytes('7'));
  server.reset();
  assert.ok(descriptors() <= before + 2, `${descriptors()} descriptors, ${before} before`);
  chmodSync(folder, 0o700);
});

test('what the kernel makes up is not shown, and pipes are not opened', () => {
  const { client, root } = connect(openFolder('/', { readOnly: true }));
  assert.deepEqual(
    client.list(client.walk(root, 'proc')).map(({ name }) => name),
    ['.', '..'],
  );
  refuses(ENOENT, () => client.walk(root, 'proc', 'self'));
  refuses(6, () => client.open(client.walk(root, 'dev', 'null')));
  assert.throws(() => openFolder('/proc'), FileError);
  assert.throws(() => openFolder(join(all, 'none')), { code: 'ENOENT' });
  assert.throws(() => openFolder('/etc/passwd'), { code: 'ENOTDIR' });
});
