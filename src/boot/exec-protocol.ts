/**
 * How the host hands the default guest a command and gets its output and status back over nothing but the console.
 *
 * The command is a file in a second cpio archive after the initramfs, for a kernel's command line is short. The guest's /init
 * (guest/init-script.ts) then prints
 *
 *     RS "polyvisor MARK start" LF   output, byte for byte   RS "polyvisor MARK STATUS" LF
 *
 * RS is the ASCII record separator, 0x1e, and MARK a digest of the command, so that output does not contain a mark by
 * accident and two runs of the same command print the same. What comes before and after is the kernel's console.
 *
 * In between the kernel's messages are turned off, save those of a panic or an oops, which switch themselves on. What looks
 * like one is held back until the end mark shows that it was output after all, or the end of the machine that it was not.
 */
import { type CpioEntry, S_IFDIR, S_IFREG, writeCpio } from './cpio.ts';
import { resumeProgram } from './guest/resume-program.ts';
import { ImageError } from './image-error.ts';

/** A command longer than this, in bytes, is surely a file given by mistake; guest RAM must hold it twice. */
const COMMAND_LIMIT = 16 << 20;

/** The archive to put after the default guest's initramfs so that it runs `command` (by busybox's sh) and powers off. */
export function commandArchive(command: string): Uint8Array {
  const text = new TextEncoder().encode(`${command}\n`);
  if (text.length > COMMAND_LIMIT)
    throw new ImageError(
      `the command is ${text.length} bytes long, more than ${COMMAND_LIMIT}; put it on a disk instead`,
    );
  const entries: CpioEntry[] = [
    { name: 'polyvisor', mode: S_IFDIR | 0o755 },
    { name: 'polyvisor/command', mode: S_IFREG | 0o644, data: text },
    { name: 'polyvisor/mark', mode: S_IFREG | 0o644, data: `${commandMark(command)}\n` },
  ];
  return writeCpio(entries);
}

/** The archive to put there instead so that the guest waits for a command, to be kept and given one later (resume-program.ts). */
export function resumeArchive(): Uint8Array {
  return writeCpio([
    { name: 'polyvisor', mode: S_IFDIR | 0o755 },
    { name: 'polyvisor/resume', mode: S_IFREG | 0o755, data: resumeProgram() },
  ]);
}

/** What the guest prints before the command's output. */
export const startMark = (command: string) => `\x1epolyvisor ${commandMark(command)} start\n`;

/** What it prints after it, before the status and a line feed. */
export const endMark = (command: string) => `\x1epolyvisor ${commandMark(command)} `;

/** `initrd` with the archives that follow it, each at a multiple of 4 bytes, as the kernel demands. */
export function joinArchives(...archives: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  const starts = archives.map(archive => {
    const start = align4(length);
    length = start + archive.length;
    return start;
  });
  const out = new Uint8Array(align4(length));
  for (const [index, archive] of archives.entries()) out.set(archive, starts[index]);
  return out;
}

/** Sixteen hexadecimal digits made from the command (64-bit FNV-1a). */
export function commandMark(command: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(command))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
}

/**
 * Kernel parameters for a run that shows nothing but the command's output; with `verbose` the kernel's messages before and
 * after it are printed as usual, for whoever shows them apart.
 */
export function commandParameters(verbose: boolean): string {
  return verbose ? '' : 'quiet loglevel=1';
}

/** What comes of a run. */
export interface OutputSinks {
  /** The command's output. */
  output(bytes: Uint8Array): void;
  /** The rest of the console: the kernel's text. */
  console(bytes: Uint8Array): void;
}

/** Splits the console's bytes as they come. */
export class OutputParser {
  /** The command's exit status; undefined until its end mark has been seen. */
  status: number | undefined;
  /** True from the start mark on. */
  started = false;

  readonly #sinks: OutputSinks;
  readonly #startMark: Uint8Array;
  readonly #endMark: Uint8Array;
  /** Bytes not yet told apart: a mark's beginning perhaps, or a kernel message's. */
  readonly #held = new ByteQueue();
  /** How many of the held bytes are known to hold no beginning of an end mark. */
  #searched = 0;
  /** True when the held bytes begin with what looks like a kernel's last words. */
  #suspect = false;

  constructor(command: string, sinks: OutputSinks) {
    this.#sinks = sinks;
    this.#startMark = new TextEncoder().encode(startMark(command));
    this.#endMark = new TextEncoder().encode(endMark(command));
  }

  /** Takes the next bytes of the console. */
  feed(bytes: Uint8Array): void {
    this.#held.add(bytes);
    if (!this.started) this.#seekStart();
    if (this.started && this.status === undefined) this.#seekEnd();
    if (this.status !== undefined) this.#release(this.#held.length, 'console');
  }

  /**
   * The machine has ended: gives out what was held back. If the end mark never came, text that looks like the kernel's
   * counts as that.
   */
  finish(): void {
    const running = this.started && this.status === undefined;
    this.#release(this.#held.length, running && !this.#suspect ? 'output' : 'console');
  }

  #seekStart(): void {
    const bytes = this.#held.bytes;
    const found = indexOf(bytes, this.#startMark, 0);
    this.#release(found >= 0 ? found : bytes.length - partialMatch(bytes, this.#startMark), 'console');
    if (found < 0) return;
    this.#held.take(this.#startMark.length);
    this.started = true;
  }

  #seekEnd(): void {
    const bytes = this.#held.bytes;
    const found = indexOf(bytes, this.#endMark, this.#searched);
    const statusAt = found + this.#endMark.length;
    const lineEnd = found < 0 ? -1 : bytes.indexOf(LF, statusAt);
    if (lineEnd >= 0) {
      this.status = Number.parseInt(new TextDecoder().decode(bytes.subarray(statusAt, lineEnd)), 10);
      this.#release(found, 'output');
      this.#held.take(lineEnd + 1 - found);
      return;
    }
    this.#searched = found >= 0 ? found : bytes.length - partialMatch(bytes, this.#endMark);
    if (this.#suspect) return;
    const { start, complete } = findKernelText(bytes.subarray(0, this.#searched));
    this.#suspect = complete;
    this.#release(start, 'output');
  }

  #release(length: number, to: 'output' | 'console'): void {
    if (length <= 0) return;
    this.#searched = Math.max(0, this.#searched - length);
    this.#sinks[to](this.#held.take(length));
  }
}

const LF = 0x0a;

/**
 * How the last words of a kernel begin: `[    1.234567] Kernel panic - not syncing: …`, `… BUG: unable to handle …`. They
 * can stand in mid-line: the kernel does not ask where a program's output has got to.
 */
const KERNEL_TEXT =
  /^\[ *\d+\.\d{6}\] (?:Kernel panic - |BUG: |kernel BUG at |Oops: |general protection fault|(?:traps: )?PANIC: |watchdog: BUG|sysrq: |reboot: )/;
/** What can still become one of those when more of it has come. */
const BEGINNING = /^\[ *(?:\d+(?:\.\d{0,6}(?:\](?: [^\n]{0,22})?)?)?)?$/;

/** Where kernel text begins (`complete`), or may be about to when more comes; the length of `bytes` when nowhere. */
function findKernelText(bytes: Uint8Array): { start: number; complete: boolean } {
  for (let at = bytes.indexOf(0x5b); at >= 0; at = bytes.indexOf(0x5b, at + 1)) {
    const next = bytes[at + 1];
    if (at + 1 < bytes.length && next !== 0x20 && !(next >= 0x30 && next <= 0x39)) continue;
    const text = new TextDecoder('latin1').decode(bytes.subarray(at, at + 80));
    if (KERNEL_TEXT.test(text)) return { start: at, complete: true };
    if (at + text.length === bytes.length && BEGINNING.test(text)) return { start: at, complete: false };
  }
  return { start: bytes.length, complete: false };
}

/** Bytes that come at one end and go at the other. */
class ByteQueue {
  #buffer = new Uint8Array(1 << 12);
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** A view, good until the next call of `add`. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  add(bytes: Uint8Array): void {
    if (this.#end + bytes.length > this.#buffer.length) {
      const wanted = this.length + bytes.length;
      const buffer = wanted * 2 > this.#buffer.length ? new Uint8Array(wanted * 2) : this.#buffer;
      buffer.set(this.bytes);
      [this.#buffer, this.#start, this.#end] = [buffer, 0, this.length];
    }
    this.#buffer.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** Removes the first `length` bytes and returns a copy of them. */
  take(length: number): Uint8Array {
    const taken = this.#buffer.slice(this.#start, this.#start + length);
    this.#start += length;
    return taken;
  }
}

/** Where `wanted` stands in `bytes`, from `start` on, or -1. */
function indexOf(bytes: Uint8Array, wanted: Uint8Array, start: number): number {
  for (let at = bytes.indexOf(wanted[0], start); at >= 0; at = bytes.indexOf(wanted[0], at + 1))
    if (at + wanted.length <= bytes.length && wanted.every((value, index) => bytes[at + index] === value)) return at;
  return -1;
}

/** How many bytes at the end of `bytes` are the beginning of `wanted`. */
function partialMatch(bytes: Uint8Array, wanted: Uint8Array): number {
  for (let length = Math.min(wanted.length - 1, bytes.length); length > 0; length--)
    if (wanted.subarray(0, length).every((value, index) => bytes[bytes.length - length + index] === value))
      return length;
  return 0;
}

function align4(value: number): number {
  return Math.ceil(value / 4) * 4;
}
