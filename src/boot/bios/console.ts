/**
 * INT 10h and INT 16h: a display and a keyboard that are the machine's console, as on a PC whose BIOS talks to a serial line.
 * It has no screen memory: what would move the cursor or draw is taken and leads to nothing.
 */
import type { Console } from '../../host/console.ts';
import type { Functions } from './bios.ts';
import type { BiosCall } from './call.ts';
import { COLUMNS, VIDEO_MODE } from './image.ts';

/** As a text mode's cursor is: scan lines 6 and 7. */
const CURSOR_SHAPE = 0x0607;
/** The longest string that one call of INT 10h, AH=13h prints: all of CX. */
const LONGEST_STRING = 0xffff;
/** As many keys as the BIOS data area of a PC has room for. */
const KEYS = 15;

export function video(console: Console): Functions {
  const printCharacter = (call: BiosCall) => console.write(Uint8Array.of(call.al));
  return {
    3: call => {
      call.cx = CURSOR_SHAPE;
      call.dx = 0;
    },
    9: printCharacter,
    10: printCharacter,
    14: printCharacter,
    15: call => {
      call.al = VIDEO_MODE;
      call.ah = COLUMNS;
      call.bh = 0;
    },
    19: call => {
      // AL bit 1: each character is followed by its attribute.
      const step = call.al & 2 ? 2 : 1;
      const text = call.read(call.esBp, Math.min(call.cx * step, LONGEST_STRING));
      if (text) console.write(text.filter((_, index) => index % step === 0));
    },
  };
}

/** Keys are the console's characters, without scan codes. */
export function createKeyboard(console: Console): Functions {
  const keys: number[] = [];
  console.onInput(data => void keys.push(...data.subarray(0, KEYS - keys.length)));

  const read = (call: BiosCall): boolean => {
    const key = keys.shift();
    if (key === undefined) return true;
    call.ax = key;
    return false;
  };
  const look = (call: BiosCall): void => {
    call.zero = keys.length === 0;
    if (keys.length > 0) call.ax = keys[0];
  };
  const shifts = (call: BiosCall): void => void (call.al = 0);
  return {
    ...{ 0: read, 16: read },
    ...{ 1: look, 17: look },
    ...{ 2: shifts, 18: shifts },
  };
}
