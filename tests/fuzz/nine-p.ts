/**
 * What a hostile guest sends to the 9P server of a shared folder: messages of every kind with odd numbers and names, and
 * messages that were damaged. Each is answered once, with its tag and within its room; nothing but a FileError is thrown
 * within; nothing outside of the folder is touched; what the guest has opened is closed when it is gone.
 */
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryFileSystem } from '../../src/folders/memory-file-system.ts';
import { NinePServer } from '../../src/folders/nine-p-server.ts';
import type { FileSystem } from '../../src/host/file-system.ts';
import { METADATA_NAME } from '../../src/host/node/file-metadata.ts';
import { openFolder } from '../../src/host/node/folder.ts';
import { pack } from '../nine-p-client.ts';
import { mutate, showBytes } from './bytes.ts';
import { caseFuzzer, type Random } from './fuzzer.ts';

/** Messages of one guest. */
const MESSAGES = 200;
const NAMES = [
  ...['a', 'b', 'c', 'directory', 'file', 'out', 'up', 'loop', '.', '..', '', '/', '/etc/passwd', '../outside'],
  ...['../outside/secret', 'out/secret', 'a\0b', '\xff\xfe', 'n'.repeat(255), 'n'.repeat(256), METADATA_NAME],
  ...['secret', '__proto__', 'constructor'],
];
const NUMBERS = [0, 1, 2, 7, 100, 4096, 65535, 65536, 2 ** 31, 2 ** 32 - 1];
const LARGE = [0n, 1n, 5n, 4096n, 2n ** 31n, 2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];
const FLAGS = [0, 1, 2, 0o102, 0o202, 0o1001, 0o1002, 0o2001, 0o200000, 0o400000, 0xffffffff];
const MODES = [0, 0o644, 0o4755, 0o100644, 0o020666, 0o060600, 0o010600, 0o140777, 0o040755, 0o120777, 0xffffffff];

/** One field of a message. */
type Shape =
  | 'fid'
  | 'other'
  | 'name'
  | 'number'
  | 'large'
  | 'flags'
  | 'mode'
  | 'u8'
  | 'names'
  | 'data'
  | 'count'
  | 'tag';

const KINDS: readonly (readonly [type: number, ...fields: Shape[]])[] = [
  [8, 'fid'],
  [12, 'fid', 'flags'],
  [12, 'fid', 'flags'],
  [14, 'fid', 'name', 'flags', 'mode', 'number'],
  [14, 'fid', 'name', 'flags', 'mode', 'number'],
  [16, 'fid', 'name', 'name', 'number'],
  [18, 'fid', 'name', 'mode', 'number', 'number', 'number'],
  [20, 'fid', 'fid', 'name'],
  [22, 'fid'],
  [24, 'fid', 'large'],
  [26, 'fid', 'flags', 'mode', 'number', 'number', 'large', 'large', 'large', 'large', 'large'],
  [30, 'fid', 'other', 'name'],
  [32, 'fid', 'name', 'large', 'number'],
  [40, 'fid', 'large', 'count'],
  [50, 'fid', 'number'],
  [52, 'fid', 'u8', 'number', 'large', 'large', 'number', 'name'],
  [54, 'fid', 'u8', 'large', 'large', 'number', 'name'],
  [70, 'fid', 'fid', 'name'],
  [72, 'fid', 'name', 'mode', 'number'],
  [74, 'fid', 'name', 'fid', 'name'],
  [74, 'fid', 'name', 'fid', 'name'],
  [76, 'fid', 'name', 'flags'],
  [76, 'fid', 'name', 'flags'],
  [102, 'fid', 'name', 'name'],
  [104, 'other', 'fid', 'name', 'name', 'number'],
  [108, 'tag'],
  [110, 'fid', 'other', 'names'],
  [110, 'fid', 'other', 'names'],
  [110, 'fid', 'other', 'names'],
  [110, 'fid', 'other', 'names'],
  [110, 'fid', 'fid', 'names'],
  [116, 'fid', 'large', 'count'],
  [118, 'fid', 'large', 'data'],
  [118, 'fid', 'large', 'data'],
  [120, 'other'],
  [120, 'other'],
  [122, 'other'],
];

/** One that is there, or might be, in most cases. */
const name = (random: Random) => (random.below(3) ? random.of(NAMES.slice(0, 5)) : random.of(NAMES));

function field(random: Random, shape: Shape): Uint8Array {
  switch (shape) {
    case 'fid':
      return pack([4, random.below(40) ? random.below(random.of([3, 10])) : random.of(NUMBERS)]);
    case 'other':
      return pack([4, random.below(40) ? 3 + random.below(8) : random.of(NUMBERS)]);
    case 'name':
      return pack(['s', name(random)]);
    case 'names': {
      const names = Array.from({ length: random.below(random.of([2, 4])) }, () => ['s', name(random)] as const);
      return pack([2, random.below(50) ? names.length : random.below(65536)], ...names);
    }
    case 'number':
      return pack([4, random.of(NUMBERS)]);
    case 'count':
      return pack([4, random.of([0, 1, 100, 4096, 65536, 2 ** 32 - 1])]);
    case 'large':
      return pack([8, random.below(2) ? BigInt(random.below(10_000)) : random.of(LARGE)]);
    case 'flags':
      return pack([4, random.of(FLAGS)]);
    case 'mode':
      return pack([4, random.of(MODES)]);
    case 'u8':
      return pack([1, random.below(256)]);
    case 'tag':
      return pack([2, random.below(300)]);
    case 'data': {
      const data = new Uint8Array(random.below(random.of([10, 5000]))).fill(random.below(256));
      return pack([4, random.below(20) ? data.length : random.of(NUMBERS)], ['d', data]);
    }
  }
}

function message(random: Random, tag: number): Uint8Array {
  const [type, ...fields] = random.of(KINDS);
  const body = fields.map(shape => ['d', field(random, shape)] as const);
  const length = 7 + body.reduce((sum, [, part]) => sum + (part as Uint8Array).length, 0);
  const whole = pack([4, length], [1, type], [2, tag], ...body);
  if (random.below(10)) return whole;
  const damaged = mutate(random, whole);
  return damaged.length >= 7 ? damaged : whole;
}

const hello = () => [
  pack([4, 19 + 2], [1, 100], [2, 0xffff], [4, 65536], ['s', '9P2000.L']),
  ...[0, 1, 2].map(fid =>
    pack([4, 23], [1, 104], [2, fid], [4, fid], [4, 2 ** 32 - 1], ['s', ''], ['s', ''], [4, fid]),
  ),
];

/** The world: a folder that is shared, and what is beside it. */
function makeWorld(base: string): void {
  const shared = join(base, 'shared');
  rmSync(shared, { recursive: true, force: true });
  mkdirSync(join(shared, 'directory/a'), { recursive: true });
  writeFileSync(join(shared, 'file'), 'content');
  symlinkSync('../outside', join(shared, 'out'));
  symlinkSync(join(base, 'outside/secret'), join(shared, 'secret'));
  symlinkSync('..', join(shared, 'up'));
  symlinkSync('loop', join(shared, 'directory/loop'));
}

/** All that may not change, as text. */
function outside(base: string): string {
  const lines = [readdirSync(base).join(' '), readdirSync(join(base, 'outside')).join(' ')];
  for (const name of ['.', 'outside', 'outside/secret']) {
    const { mode, mtimeNs, ctimeNs, size, nlink, uid } = lstatSync(join(base, name), { bigint: true });
    // The folder above changes when the shared one is made anew.
    lines.push(name === '.' ? `${mode} ${uid}` : `${name} ${mode} ${mtimeNs} ${ctimeNs} ${size} ${nlink} ${uid}`);
  }
  lines.push(readFileSync(join(base, 'outside/secret'), 'utf8'));
  return lines.join('\n');
}

/** @returns what is wrong */
function converse(files: FileSystem, messages: readonly Uint8Array[], room: number): string | undefined {
  let wrong: string | undefined;
  const server = new NinePServer(files, {
    onMistake: error => {
      wrong ??= `a mistake: ${error instanceof Error ? error.stack : error}`;
    },
  });
  for (const bytes of messages) {
    let answers = 0;
    server.request(bytes, room, answer => {
      const view = new DataView(answer.buffer, answer.byteOffset, answer.byteLength);
      if (answer.length > room) wrong ??= `${answer.length} bytes in room for ${room}`;
      if (view.getUint32(0, true) !== answer.length) wrong ??= 'a size that is not the size';
      if (view.getUint16(5, true) !== (bytes[5] | (bytes[6] << 8))) wrong ??= 'another tag';
      if (answer[4] !== bytes[4] + 1 && answer[4] !== 7) wrong ??= `answer ${answer[4]} to ${bytes[4]}`;
      answers++;
    });
    if (answers !== 1) wrong ??= `${answers} answers`;
    if (wrong) break;
  }
  server.reset();
  if (server.fids > 0) wrong ??= 'fids stay';
  return wrong;
}

let base: string | undefined;

/** Made at the first use, and removed when the process ends. */
function world(): string {
  if (base !== undefined) return base;
  const made = mkdtempSync(join(tmpdir(), 'polyvisor-nine-p-'));
  mkdirSync(join(made, 'outside'));
  writeFileSync(join(made, 'outside/secret'), 'secret');
  mkdirSync(join(made, 'shared'));
  process.once('exit', () => rmSync(made, { recursive: true, force: true }));
  base = made;
  return made;
}

interface Input {
  kind: number;
  room: number;
  messages: readonly Uint8Array[];
}

export const nineP = caseFuzzer<Input>({
  name: 'nine-p',
  description: `9P messages of hostile guests, ${MESSAGES} each, to folders that are shared: answered, and nothing outside is touched`,
  make: random => ({
    kind: random.below(3),
    room: random.of([11, 64, 4096, 4096, 65536, 65536, 65536, 65536]),
    messages: [...hello(), ...Array.from({ length: MESSAGES }, (_, index) => message(random, index))],
  }),
  judge({ kind, room, messages }) {
    const base = world();
    makeWorld(base);
    const before = outside(base);
    const descriptors = readdirSync('/proc/self/fd').length;
    const folder = openFolder(join(base, 'shared'), { readOnly: kind !== 0 });
    const files = kind === 2 ? new MemoryFileSystem({ lower: folder, limit: 1 << 24 }) : folder;
    const wrong = converse(files, messages, room);
    files.close();
    if (wrong !== undefined) return wrong;
    if (outside(base) !== before) return `outside has changed:\n${outside(base)}\nwas\n${before}`;
    const after = readdirSync('/proc/self/fd').length;
    return after > descriptors ? `${after - descriptors} descriptors stay open` : undefined;
  },
  *smaller({ kind, room, messages }) {
    for (let part = messages.length >> 1; part >= 1; part >>= 1)
      for (let at = 0; at + part <= messages.length; at += part)
        yield { kind, room, messages: [...messages.slice(0, at), ...messages.slice(at + part)] };
  },
  show: ({ kind, room, messages }) => [`kind ${kind}, room ${room}`, ...messages.map(showBytes)].join('\n'),
});
