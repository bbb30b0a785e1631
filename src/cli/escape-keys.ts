/** The keys that are for us and not for the guest: Ctrl-A and a letter, as in minicom, screen and QEMU. */

const CONTROL_A = 0x01;

export type EscapeKey = 'quit' | 'monitor' | 'help';

const KEYS: ReadonlyMap<string, EscapeKey> = new Map([
  ['x', 'quit'],
  ['c', 'monitor'],
  ['h', 'help'],
  ['?', 'help'],
]);

export const keyHelp = `Ctrl-A x   leave: the machine is switched off
Ctrl-A c   monitor: stop the guest and look at it
Ctrl-A h   this help
Ctrl-A Ctrl-A   send one Ctrl-A to the guest
After the terminal's size has changed, "resize" tells the shell of the default guest (a serial line cannot).`;

/**
 * A filter for typed bytes: keys after Ctrl-A go to `onKey`, the rest is returned for the guest. An unknown letter after
 * Ctrl-A is dropped with it. State lasts between calls, since the two keys seldom come in one piece.
 */
export function createEscapeFilter(onKey: (key: EscapeKey) => void): (data: Uint8Array) => Uint8Array {
  let escaped = false;
  return data => {
    const kept: number[] = [];
    for (const byte of data) {
      if (escaped) {
        escaped = false;
        const key = KEYS.get(String.fromCharCode(byte).toLowerCase());
        if (byte === CONTROL_A) kept.push(byte);
        else if (key) onKey(key);
      } else if (byte === CONTROL_A) escaped = true;
      else kept.push(byte);
    }
    return Uint8Array.from(kept);
  };
}
