/**
 * A client of 9P2000.L for tests, which shares nothing with the server but this protocol's documentation (diod's
 * protocol.md; Linux: net/9p/protocol.c). Names are strings of bytes, as everywhere in this room.
 */

/** What the server has refused. */
export class Refused extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

export interface Qid {
  type: number;
  version: number;
  path: bigint;
}

export interface Entry extends Qid {
  offset: bigint;
  kind: number;
  name: string;
}

type Field = number | bigint | string | Uint8Array;
/** What it is, and its value. */
export type Pair = readonly [1 | 2 | 4 | 8 | 's' | 'd', Field];

/** Bytes of fields given in pairs: a width (1, 2, 4, 8), 's' for a string, 'd' for bytes as they are. */
export function pack(...pairs: readonly Pair[]): Uint8Array {
  const parts = pairs.map(([kind, value]) => {
    if (kind === 'd') return value as Uint8Array;
    if (kind === 's') return Uint8Array.from(value as string, char => char.charCodeAt(0));
    return numberBytes(value as number | bigint, kind);
  });
  const all = pairs.flatMap(([kind], index) =>
    kind === 's' ? [numberBytes(parts[index].length, 2), parts[index]] : [parts[index]],
  );
  const bytes = new Uint8Array(all.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of all) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function numberBytes(value: number | bigint, width: number): Uint8Array {
  return Uint8Array.from({ length: width }, (_, at) => Number((BigInt(value) >> BigInt(8 * at)) & 0xffn));
}

/** Reads fields of an answer's body. */
export class Fields {
  readonly #view: DataView;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.#view.byteLength - this.at;
  }

  number(width: 1 | 2 | 4 | 8): bigint {
    let value = 0n;
    for (let i = 0; i < width; i++) value |= BigInt(this.#view.getUint8(this.at + i)) << BigInt(8 * i);
    this.at += width;
    return value;
  }

  text(): string {
    const length = Number(this.number(2));
    return String.fromCharCode(...this.bytes(length));
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.at, length).slice();
    this.at += length;
    return bytes;
  }

  qid(): Qid {
    return { type: Number(this.number(1)), version: Number(this.number(4)), path: this.number(8) };
  }
}

/** What the client talks to. */
export interface Server {
  request(message: Uint8Array, room: number, reply: (message: Uint8Array) => void): void;
}

export const ALL = 0xffffffff;

export class Client {
  readonly #server: Server;
  readonly size: number;
  #nextFid = 1;
  #nextTag = 1;

  constructor(server: Server, size = 65536) {
    this.#server = server;
    this.size = size;
    const answer = this.call(100, pack([4, size], ['s', '9P2000.L']), 0xffff);
    answer.number(4);
    if (answer.text() !== '9P2000.L') throw new Error('another version');
  }

  /** Sends one message; the answer must come at once. @throws Refused */
  call(type: number, body: Uint8Array, tag = this.#nextTag++ & 0x7fff): Fields {
    let answer: Uint8Array | undefined;
    const message = pack([4, 7 + body.length], [1, type], [2, tag], ['d', body]);
    this.#server.request(message, this.size, bytes => {
      if (answer) throw new Error('answered twice');
      answer = bytes.slice();
    });
    if (!answer) throw new Error('not answered');
    const head = new Fields(answer);
    if (Number(head.number(4)) !== answer.length) throw new Error('a size that is not the size');
    const got = Number(head.number(1));
    if (Number(head.number(2)) !== tag) throw new Error('another tag');
    if (got === 7) throw new Refused(Number(head.number(4)));
    if (got !== type + 1) throw new Error(`answer ${got} to ${type}`);
    return new Fields(answer.subarray(7));
  }

  attach(uid = 0, path = ''): number {
    const fid = this.#nextFid++;
    this.call(104, pack([4, fid], [4, ALL], ['s', 'nobody'], ['s', path], [4, uid]));
    return fid;
  }

  /** Walks to `names`; what is found is a new fid. */
  walk(from: number, ...names: string[]): number {
    const fid = this.#nextFid++;
    const body = pack([4, from], [4, fid], [2, names.length], ...names.map(name => ['s', name] as const));
    const count = Number(this.call(110, body).number(2));
    if (count < names.length) throw new Refused(2);
    return fid;
  }

  clunk(fid: number): void {
    this.call(120, pack([4, fid]));
  }

  open(fid: number, flags = 0): number {
    this.call(12, pack([4, fid], [4, flags]));
    return fid;
  }

  /** Makes a file and opens it. */
  create(directory: number, name: string, flags = 2, mode = 0o644): number {
    const fid = this.walk(directory);
    this.call(14, pack([4, fid], ['s', name], [4, flags], [4, mode], [4, 0]));
    return fid;
  }

  mkdir(directory: number, name: string, mode = 0o755): void {
    this.call(72, pack([4, directory], ['s', name], [4, mode], [4, 0]));
  }

  symlink(directory: number, name: string, target: string): void {
    this.call(16, pack([4, directory], ['s', name], ['s', target], [4, 0]));
  }

  mknod(directory: number, name: string, mode: number, major = 0, minor = 0): void {
    this.call(18, pack([4, directory], ['s', name], [4, mode], [4, major], [4, minor], [4, 0]));
  }

  link(directory: number, fid: number, name: string): void {
    this.call(70, pack([4, directory], [4, fid], ['s', name]));
  }

  rename(from: number, name: string, to: number, newName: string): void {
    this.call(74, pack([4, from], ['s', name], [4, to], ['s', newName]));
  }

  unlink(directory: number, name: string, flags = 0): void {
    this.call(76, pack([4, directory], ['s', name], [4, flags]));
  }

  readlink(fid: number): string {
    return this.call(22, pack([4, fid])).text();
  }

  read(fid: number, offset: number | bigint, count: number): Uint8Array {
    const answer = this.call(116, pack([4, fid], [8, offset], [4, count]));
    return answer.bytes(Number(answer.number(4)));
  }

  write(fid: number, offset: number | bigint, data: Uint8Array): number {
    return Number(this.call(118, pack([4, fid], [8, offset], [4, data.length], ['d', data])).number(4));
  }

  getattr(fid: number) {
    const answer = this.call(24, pack([4, fid], [8, 0x3fff]));
    const valid = answer.number(8);
    const qid = answer.qid();
    const [mode, uid, gid] = [answer.number(4), answer.number(4), answer.number(4)].map(Number);
    const [links, device, size, blockSize, blocks] = [8, 8, 8, 8, 8].map(width => answer.number(width as 8));
    const times = Array.from({ length: 4 }, () => answer.number(8) * 1_000_000_000n + answer.number(8));
    const [atime, mtime, ctime, btime] = times;
    return { valid, qid, mode, uid, gid, links, device, size, blockSize, blocks, atime, mtime, ctime, btime };
  }

  setattr(
    fid: number,
    valid: number,
    values: { mode?: number; uid?: number; gid?: number; size?: bigint; atime?: bigint; mtime?: bigint },
  ) {
    const { mode = 0, uid = ALL, gid = ALL, size = 0n, atime = 0n, mtime = 0n } = values;
    const second = 1_000_000_000n;
    const times = [atime / second, atime % second, mtime / second, mtime % second].map(value => [8, value] as const);
    this.call(26, pack([4, fid], [4, valid], [4, mode], [4, uid], [4, gid], [8, size], ...times));
  }

  /** All entries of a directory, in pieces of `count` bytes. */
  list(directory: number, count = 4096): Entry[] {
    const fid = this.open(this.walk(directory));
    const entries: Entry[] = [];
    for (let offset = 0n; ; ) {
      const answer = this.call(40, pack([4, fid], [8, offset], [4, count]));
      const piece = new Fields(answer.bytes(Number(answer.number(4))));
      if (piece.left === 0) break;
      while (piece.left > 0) {
        const qid = piece.qid();
        offset = piece.number(8);
        entries.push({ ...qid, offset, kind: Number(piece.number(1)), name: piece.text() });
      }
    }
    this.clunk(fid);
    return entries;
  }

  setExtended(fid: number, name: string, value: Uint8Array, flags = 0): void {
    const copy = this.walk(fid);
    this.call(32, pack([4, copy], ['s', name], [8, value.length], [4, flags]));
    if (value.length > 0) this.write(copy, 0, value);
    this.clunk(copy);
  }

  /** An extended attribute, or with an empty name the list of their names. */
  extended(fid: number, name: string): Uint8Array {
    const value = this.#nextFid++;
    const size = Number(this.call(30, pack([4, fid], [4, value], ['s', name])).number(8));
    const bytes = this.read(value, 0, size);
    this.clunk(value);
    return bytes;
  }
}
