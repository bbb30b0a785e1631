/**
 * Files through which a guest's /init and whoever runs the guest talk: what is written to `stdout` and `stderr` goes out, what
 * goes in is read from `stdin`, `status` takes the number with which a command ended, and from `signals` come the numbers of those
 * that it is to get, a line at each opening. To the guest it is a folder like any other.
 *
 * A client of 9P reads a file until it has all it asked for, or an end. So `stdin` ends wherever nothing more has come yet; the
 * next time that it is opened, reading waits for more. When all of it has been read, it cannot be opened any more.
 */
import { byteString, FileError, type Inode, type OpenFile, type OpenMode, S_IFREG } from '../host/file-system.ts';
import { MemoryFileSystem } from './memory-file-system.ts';

/** The tag by which the guest mounts it. */
export const CHANNEL_TAG = 'polyvisor';

export interface ChannelEnds {
  output(stream: 'stdout' | 'stderr', data: Uint8Array): void;
  status(value: number): void;
  /** Less than a few pieces are left: more may be given. Called again only after `give`. */
  wantsInput(): void;
  /** The guest waits for signals from now on. */
  takesSignals?(): void;
}

export class Channel extends MemoryFileSystem {
  readonly #ends: ChannelEnds;
  readonly #names = new Map<Inode, string>();
  readonly #input: Uint8Array[] = [];
  #inputEnded = false;
  #wanted = false;
  readonly #signals: number[] = [];
  #waiting: (() => void)[] = [];

  constructor(ends: ChannelEnds) {
    super({ limit: 1 << 20, now: () => 0n });
    this.#ends = ends;
    for (const name of ['stdin', 'stdout', 'stderr', 'status', 'signals'])
      this.#names.set(this.create(this.root, byteString(name), { mode: S_IFREG | 0o600, uid: 0, gid: 0 }), name);
  }

  /** More input; none means that there is no more. */
  give(data: Uint8Array | undefined): void {
    this.#wanted = false;
    if (data) this.#input.push(data);
    else this.#inputEnded = true;
    this.#wake();
  }

  /** @param number of a signal for the command, as Linux has it */
  signal(number: number): void {
    this.#signals.push(number);
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const again of waiting) again();
  }

  override open(file: Parameters<MemoryFileSystem['open']>[0], mode: OpenMode): OpenFile {
    switch (this.#names.get(file)) {
      case 'stdin':
        return this.#openInput();
      case 'signals':
        return this.#openSignals();
      case 'stdout':
        return this.#openOutput(data => this.#ends.output('stdout', data));
      case 'stderr':
        return this.#openOutput(data => this.#ends.output('stderr', data));
      case 'status':
        return this.#openOutput(data => {
          const value = Number.parseInt(String.fromCharCode(...data.subarray(0, 8)), 10);
          if (value >= 0 && value <= 255) this.#ends.status(value);
        });
      default:
        return super.open(file, mode);
    }
  }

  #openOutput(take: (data: Uint8Array) => void): OpenFile {
    return {
      read: () => 0,
      write(_offset, from) {
        take(from.slice());
        return from.length;
      },
      sync() {},
      close() {},
    };
  }

  /** One signal, when there is one, and an end. */
  #openSignals(): OpenFile {
    this.#ends.takesSignals?.();
    let line: Uint8Array | undefined;
    return {
      read: (_offset, into) => {
        const number = line ? undefined : this.#signals.shift();
        if (number !== undefined) line = new TextEncoder().encode(`${number}\n`);
        if (!line) return undefined;
        // A shell reads a byte at a time.
        const piece = line.subarray(0, into.length);
        into.set(piece);
        line = line.subarray(piece.length);
        return piece.length;
      },
      onReadable: again => void this.#waiting.push(again),
      write() {
        throw new FileError('EBADF');
      },
      sync() {},
      close() {},
    };
  }

  #openInput(): OpenFile {
    if (this.#inputEnded && this.#input.length === 0) throw new FileError('ENXIO');
    const reading = { some: false };
    return {
      read: (_offset, into) => {
        const count = this.#read(into);
        if (this.#input.length === 0 && !this.#inputEnded && !this.#wanted) {
          this.#wanted = true;
          this.#ends.wantsInput();
        }
        if (count === 0 && !reading.some && !this.#inputEnded) return undefined;
        reading.some = true;
        return count;
      },
      onReadable: again => void this.#waiting.push(again),
      write() {
        throw new FileError('EBADF');
      },
      sync() {},
      close() {},
    };
  }

  #read(into: Uint8Array): number {
    let done = 0;
    for (let next = this.#input.shift(); next; next = this.#input.shift()) {
      const count = Math.min(next.length, into.length - done);
      into.set(next.subarray(0, count), done);
      done += count;
      if (count === next.length) continue;
      this.#input.unshift(next.subarray(count));
      break;
    }
    return done;
  }
}
