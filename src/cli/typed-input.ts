/**
 * Input that does not come from a person: held back until the guest listens. What reaches a serial port before the guest's
 * kernel has opened it is lost, and what reaches it before the shell asks is echoed twice.
 */

/** The end of an unfinished line that looks like a shell's, a boot loader's or a login's prompt. */
const PROMPT = /(?:[#$>%]|(?:login|assword):) ?$/;
/**
 * How long a guest must have been silent to be taken to be waiting, in milliseconds: after a prompt, after other text in an
 * unfinished line, and at the beginning of one, where a kernel may be busy with something long.
 */
const SILENCE = { prompt: 150, text: 5000, nothing: 30_000 };

export interface TypedInput {
  push(data: Uint8Array): void;
  /**
   * There is no more. `last` is sent whenever the guest waits from then on: a terminal knows no lasting end of input, and one
   * that is typed while a program runs is that program's.
   */
  end(last: Uint8Array): void;
  /** To be called after output of the guest; `line` is its last, unfinished one. */
  output(line: string): void;
  /** Stops the timer. */
  close(): void;
}

export function createTypedInput(send: (data: Uint8Array) => void, silence = SILENCE): TypedInput {
  let waiting: Uint8Array[] | undefined = [];
  let last: Uint8Array | undefined;
  /** What the guest's last line is; undefined while it has not said anything. */
  let line: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  const release = () => {
    if (waiting) {
      for (const data of waiting) send(data);
      waiting = undefined;
    } else if (last) return send(last);
    if (last) schedule();
  };
  const schedule = () => {
    clearTimeout(timer);
    if (line === undefined || !(waiting || last)) return;
    const kind = PROMPT.test(line) ? 'prompt' : line.trim() === '' ? 'nothing' : 'text';
    timer = setTimeout(release, silence[kind]);
  };
  return {
    push(data) {
      if (waiting) waiting.push(data);
      else send(data);
    },
    end(data) {
      last = data;
      schedule();
    },
    output(text) {
      line = text;
      schedule();
    },
    close: () => clearTimeout(timer),
  };
}
