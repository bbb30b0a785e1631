/**
 * The terminal, or a pipe, as the machine's console. Keys go to the guest raw: its own line discipline makes lines, echo
 * and signals of them.
 */
import type { Console } from '../console.ts';

export interface TerminalConsole extends Console {
  /** True where a person types. */
  readonly interactive: boolean;
  /** Hands `data` to the guest as if it had been typed. */
  type(data: Uint8Array): void;
  /** Starts taking input; every piece passes through `filter`, which returns what the guest shall see of it. */
  open(filter?: (data: Uint8Array) => Uint8Array): void;
  /** Gives the terminal back as it was found. May be opened again. */
  close(): void;
}

export function createTerminalConsole(
  input: NodeJS.ReadStream = process.stdin,
  output: NodeJS.WriteStream = process.stdout,
): TerminalConsole {
  const takers: ((data: Uint8Array) => void)[] = [];
  const interactive = Boolean(input.isTTY && output.isTTY);
  let listener: ((data: Buffer) => void) | undefined;
  const type = (data: Uint8Array) => {
    for (const take of takers) take(data);
  };
  return {
    interactive,
    type,
    write: data => void output.write(data),
    onInput: take => void takers.push(take),
    open(filter = data => data) {
      if (listener) return;
      listener = data => {
        const typed = filter(data);
        if (typed.length > 0) type(typed);
      };
      if (interactive) input.setRawMode(true);
      input.on('data', listener);
      input.resume();
    },
    close() {
      if (!listener) return;
      input.off('data', listener);
      listener = undefined;
      if (interactive) input.setRawMode(false);
      input.pause();
    },
  };
}
