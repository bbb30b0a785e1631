/**
 * INT 16h: a keyboard that is what is typed into the machine's console. A character has no scan code, since a terminal does not
 * say which keys made it; keys that are no characters, whose control sequences (ECMA-48, xterm) a terminal sends, have theirs.
 */
import type { Console } from '../../host/console.ts';
import type { State, States } from '../../state/state.ts';
import type { Functions } from './bios.ts';
import type { BiosCall } from './call.ts';

/** More than a PC's fifteen: what comes from a file or is pasted comes faster than any typist. */
const KEYS = 4096;

/** AX for keys: the scan code and the character, which is 0 where there is none. */
const ESC = 0x1b;
/** Escape; backspace, for which terminals send DEL; enter, for which files have a line feed. */
const CONTROLS: Readonly<Record<number, number>> = { [ESC]: 0x011b, 127: 0x0e08, 8: 0x0e08, 10: 0x1c0d, 13: 0x1c0d };
/** What follows ESC in a control sequence. */
const SEQUENCE = /^[[O](\d*[A-Z~])/;
/** More than the buffer takes is not looked at. */
const LONGEST_PIECE = KEYS;
/** Keys by the end of their sequence. */
const SEQUENCES: ReadonlyMap<string, number> = new Map(
  Object.entries({
    ...{ A: 0x4800, B: 0x5000, C: 0x4d00, D: 0x4b00, H: 0x4700, F: 0x4f00 },
    ...{
      '1~': 0x4700,
      '2~': 0x5200,
      '3~': 0x5300,
      '4~': 0x4f00,
      '5~': 0x4900,
      '6~': 0x5100,
      '7~': 0x4700,
      '8~': 0x4f00,
    },
    ...{ P: 0x3b00, Q: 0x3c00, R: 0x3d00, S: 0x3e00 },
    ...{ '11~': 0x3b00, '12~': 0x3c00, '13~': 0x3d00, '14~': 0x3e00, '15~': 0x3f00, '17~': 0x4000, '18~': 0x4100 },
    ...{ '19~': 0x4200, '20~': 0x4300, '21~': 0x4400 },
  }),
);

const initial = () => ({ keys: [] as number[] });

export function createKeyboard(console: Console, states: States): Functions {
  const state: State<ReturnType<typeof initial>> = states.state('keyboard', 1, initial);
  console.onInput(data => void state.keys.push(...keysOf(data).slice(0, KEYS - state.keys.length)));

  const read = (call: BiosCall): boolean => {
    const key = state.keys.shift();
    if (key === undefined) return true;
    call.ax = key;
    return false;
  };
  const look = (call: BiosCall): void => {
    call.zero = state.keys.length === 0;
    if (state.keys.length > 0) call.ax = state.keys[0];
  };
  const shifts = (call: BiosCall): void => void (call.al = 0);
  return {
    ...{ 0: read, 16: read },
    ...{ 1: look, 17: look },
    ...{ 2: shifts, 18: shifts },
  };
}

/** The keys that were pressed for what a terminal sent in one piece. */
function keysOf(data: Uint8Array): number[] {
  const text = String.fromCharCode(...data.subarray(0, LONGEST_PIECE));
  const keys: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const sequence = code === ESC ? SEQUENCE.exec(text.slice(at + 1)) : null;
    if (sequence) {
      at += sequence[0].length;
      const key = SEQUENCES.get(sequence[1]);
      if (key !== undefined) keys.push(key);
    } else keys.push(CONTROLS[code] ?? code);
  }
  return keys;
}
