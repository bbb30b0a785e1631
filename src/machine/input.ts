/** A console, or what a serial port is joined to, between the guest and the embedder: output passes through; what is typed may wake the guest. */
import type { Console } from '../host/console.ts';

export interface ConsoleInput {
  /** For the devices. */
  readonly console: Console;
  /** Somebody types. */
  type(data: Uint8Array): void;
  /** Gives the devices what was typed. */
  accept(data: Uint8Array): void;
  /** True if a device takes what is typed: then a halted guest may be woken. */
  readonly listened: boolean;
}

/**
 * @param before called with each piece of input before the devices have it; @param after when they have
 * @param enter the machine's door for it, if it has one
 */
export function createConsoleInput(
  outside: Console | undefined,
  before: () => void,
  after: () => void,
  enter?: (data: Uint8Array) => void,
): ConsoleInput {
  const takers: ((data: Uint8Array) => void)[] = [];
  const accept = (data: Uint8Array): void => {
    before();
    for (const take of takers) take(data);
    after();
  };
  const type = enter ?? accept;
  outside?.onInput(type);
  return {
    console: {
      write: data => outside?.write(data),
      onInput: take => void takers.push(take),
    },
    type,
    accept,
    get listened() {
      return takers.length > 0;
    },
  };
}
