/** A terminal of the page as a machine's console. */
import type { Console } from '../console.ts';

/** xterm.js's Terminal, as far as a console needs it, or anything that is like it. */
export interface TerminalLike {
  write(data: Uint8Array): void;
  onData(take: (text: string) => void): unknown;
}

export function terminalConsole(terminal: TerminalLike): Console {
  return {
    write: data => terminal.write(data),
    onInput: take => void terminal.onData(text => take(new TextEncoder().encode(text))),
  };
}
