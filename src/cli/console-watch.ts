/** Reads along on the console: keeps its last lines for the report, and notices a kernel panic. */

const KEPT_LINES = 200;
/** A line longer than this is no text: what is beyond is not kept. */
const LONGEST_LINE = 4096;

/** Linux, kernel/panic.c: the first line says why; the second is the last thing the kernel ever prints. */
const PANIC = 'Kernel panic - not syncing: ';
const PANIC_END = '---[ end Kernel panic';
/** A panic says no more than this between the two; with panic=SECONDS it resets the machine instead of the second. */
const LONGEST_PANIC = 150;

export interface ConsoleWatch {
  write(data: Uint8Array): void;
  /** The last lines, without escape sequences; the last one may be unfinished. */
  readonly tail: readonly string[];
  /** What stands on the last, unfinished line. */
  readonly line: string;
  /** What the guest's last words say; undefined once it has printed something after them: then it was only a text. */
  readonly panic: string | undefined;
  readonly bytes: number;
}

/** @param onPanic the guest has printed a panic to its end; look at `panic` again a moment later before believing it. */
export function createConsoleWatch(onPanic: () => void = () => {}): ConsoleWatch {
  const decoder = new TextDecoder();
  const lines: string[] = [];
  let line = '';
  let reason: string | undefined;
  let ended = false;
  let linesSince = 0;
  let bytes = 0;

  const finish = () => {
    const text = plain(line);
    line = '';
    lines.push(text);
    if (lines.length > KEPT_LINES) lines.shift();
    const at = text.indexOf(PANIC);
    if (text.includes(PANIC_END)) {
      ended = true;
      reason ??= text.slice(text.indexOf(PANIC) + PANIC.length).replace(/ *\]---$/, '');
      onPanic();
    } else if (at >= 0) [reason, ended, linesSince] = [text.slice(at + PANIC.length), false, 0];
    else if ((ended && text.trim() !== '') || ++linesSince > LONGEST_PANIC) [reason, ended] = [undefined, false];
  };

  return {
    write(data) {
      bytes += data.length;
      const pieces = decoder.decode(data, { stream: true }).split('\n');
      for (const [index, piece] of pieces.entries()) {
        if (line.length < LONGEST_LINE) line += piece.slice(0, LONGEST_LINE - line.length);
        if (index < pieces.length - 1) finish();
      }
    },
    get tail() {
      return line === '' ? lines : [...lines, plain(line)];
    },
    get line() {
      return plain(line);
    },
    get panic() {
      return ended && plain(line).trim() !== '' ? undefined : reason;
    },
    get bytes() {
      return bytes;
    },
  };
}

/** Text without terminal control: what a carriage return has overwritten and escape sequences are gone. */
function plain(line: string): string {
  const text = line.endsWith('\r') ? line.slice(0, -1) : line;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one (ECMA-48, 5.4)
  return text.replace(/(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '');
}
