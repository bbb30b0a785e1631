/**
 * Input that does not come from a person: held back until the guest listens. What reaches a serial port before the guest's
 * kernel has opened it is lost, and what reaches it before the shell asks is echoed twice.
 */

/** The end of an unfinished line that looks like a shell's or a boot loader's prompt. */
const PROMPT = /[#$>%] ?$/;
/** How long a guest must have been silent to be taken to be waiting, in milliseconds: after a prompt, and after other text. */
const SILENCE = { prompt: 150, other: 5000 };

export interface TypedInput {
  push(data: Uint8Array): void;
  /** To be called after output of the guest; `line` is its last, unfinished one. */
  output(line: string): void;
  /** Stops the timer. */
  close(): void;
}

export function createTypedInput(send: (data: Uint8Array) => void, silence = SILENCE): TypedInput {
  let waiting: Uint8Array[] | undefined = [];
  let timer: NodeJS.Timeout | undefined;
  const release = () => {
    clearTimeout(timer);
    const held = waiting ?? [];
    waiting = undefined;
    for (const data of held) send(data);
  };
  return {
    push(data) {
      if (waiting) waiting.push(data);
      else send(data);
    },
    output(line) {
      if (!waiting) return;
      clearTimeout(timer);
      timer = setTimeout(release, PROMPT.test(line) ? silence.prompt : silence.other);
    },
    close: () => clearTimeout(timer),
  };
}
