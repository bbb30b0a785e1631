/**
 * INT 10h: a display of 80x25 characters that is the machine's console, a terminal. What is printed where the last character
 * was goes out as it is; what is printed elsewhere, or in colour, has a control sequence (ECMA-48) before it. The display's memory
 * (text-memory.ts) has it, too.
 */
import type { Console } from '../../host/console.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { States } from '../../state/state.ts';
import type { Functions } from './bios.ts';
import type { BiosCall } from './call.ts';
import { glyph } from './code-page-437.ts';
import { BDA, COLUMNS, NORMAL, ROWS, VIDEO_MODE } from './image.ts';
import { TextMemory, type Window } from './text-memory.ts';

/** As a text mode's cursor is: scan lines 6 and 7. */
const CURSOR_SHAPE = 0x0607;
/** AH=00h: AL bit 7 leaves the screen as it is. */
const KEEP_SCREEN = 0x80;
/** AH=13h, AL: the cursor moves along; each character is followed by its attribute. */
const MOVE_CURSOR = 1 << 0;
const WITH_ATTRIBUTES = 1 << 1;
const [BELL, BACKSPACE, NEWLINE, RETURN] = [7, 8, 10, 13];
/** The column of a cursor that may be anywhere. */
const UNKNOWN = -1;

/** The terminal, as far as we have changed it; where the cursor is for the guest stands in the BIOS data area. */
const initial = () => ({
  row: 0,
  column: 0,
  attribute: NORMAL,
  clear: false,
  /** What AH=09h printed last: its place on the screen, character and attribute. */
  last: { place: UNKNOWN, code: 0, attribute: NORMAL },
});

export function createDisplay(console: Console, memory: GuestMemory, states: States): Functions {
  const screen = new Screen(console, memory, states);
  return {
    0: call => screen.reset((call.al & KEEP_SCREEN) === 0),
    2: call => screen.move(call.dh, call.dl),
    3: call => {
      call.cx = CURSOR_SHAPE;
      call.dx = (screen.row << 8) | screen.column;
    },
    6: call => scroll(screen, call, -1),
    7: call => scroll(screen, call, 1),
    8: call => void (call.ax = screen.cell),
    9: call => screen.repeat(call.al, call.bl, call.cx),
    10: call => screen.repeat(call.al, NORMAL, call.cx),
    14: call => screen.type(call.al),
    15: call => {
      call.al = VIDEO_MODE;
      call.ah = COLUMNS;
      call.bh = 0;
    },
    19: call => printString(screen, call),
  };
}

/** AH=06h, 07h: the window from CH, CL to DH, DL moves by AL lines, or is cleared. */
function scroll(screen: Screen, call: BiosCall, direction: 1 | -1): void {
  const [top, left] = [call.cx >> 8, call.cx & 0xff];
  const [bottom, right] = [Math.min(call.dh, ROWS - 1), Math.min(call.dl, COLUMNS - 1)];
  if (top > bottom || left > right) return;
  const lines = call.al;
  const window = { top, left, bottom, right };
  if (lines === 0 || lines > bottom - top) screen.clearWindow(window, call.bh);
  else screen.scrollWindow(window, lines * direction, call.bh);
}

function printString(screen: Screen, call: BiosCall): void {
  const step = call.al & WITH_ATTRIBUTES ? 2 : 1;
  const text = call.read(call.esBp, call.cx * step);
  const { row, column } = screen;
  screen.move(call.dh, call.dl);
  for (let at = 0; text && at < text.length; at += step) screen.type(text[at], step === 2 ? text[at + 1] : undefined);
  if (!(call.al & MOVE_CURSOR)) screen.move(row, column);
  screen.flush();
}

const WHOLE: Window = { top: 0, left: 0, bottom: ROWS - 1, right: COLUMNS - 1 };
const isWhole = ({ top, left, bottom, right }: Window): boolean =>
  top === 0 && left === 0 && bottom === ROWS - 1 && right === COLUMNS - 1;
/** Row and column of each place, row by row. */
function* placesOf({ top, left, bottom, right }: Window): Generator<[row: number, column: number]> {
  for (let row = top; row <= bottom; row++) for (let column = left; column <= right; column++) yield [row, column];
}

class Screen {
  readonly #console: Console;
  readonly #memory: GuestMemory;
  readonly #text: TextMemory;
  readonly #terminal: ReturnType<typeof initial>;
  #pending = '';

  constructor(console: Console, memory: GuestMemory, states: States) {
    this.#console = console;
    this.#memory = memory;
    this.#text = new TextMemory(memory);
    this.#terminal = states.state('display', 1, initial);
  }

  get row(): number {
    return Math.min(this.#memory.read8(BDA.cursor + 1), ROWS - 1);
  }
  get column(): number {
    return Math.min(this.#memory.read8(BDA.cursor), COLUMNS - 1);
  }
  /** The character at the cursor, and its attribute in the upper byte. */
  get cell(): number {
    return this.#text.get(this.row, this.column);
  }
  move(row: number, column: number): void {
    this.#memory.write8(BDA.cursor, column);
    this.#memory.write8(BDA.cursor + 1, row);
  }

  /** A mode has been set. The terminal is cleared when something is printed: systems set the mode and then never print. */
  reset(clear: boolean): void {
    this.move(0, 0);
    if (!clear) return;
    this.#terminal.clear = true;
    this.#text.clear(WHOLE, NORMAL);
  }

  flush(): void {
    if (this.#pending) this.#console.write(new TextEncoder().encode(this.#pending));
    this.#pending = '';
  }

  /** As a teletype: control characters move the cursor, the last row moves up. */
  type(code: number, wanted?: number): void {
    const { row, column } = this;
    const { last } = this.#terminal;
    // Systems print in colour by AH=09h, and once more by AH=0Eh, which leaves the colour and moves the cursor.
    const isColoured = last.place === row * COLUMNS + column && wanted === undefined;
    const attribute = wanted ?? (isColoured ? last.attribute : NORMAL);
    switch (code) {
      case BELL:
        this.#put('\x07');
        break;
      case BACKSPACE:
        if (column === 0) break;
        this.#goTo(row, column);
        this.#put('\b');
        this.#terminal.column--;
        this.move(row, column - 1);
        break;
      case RETURN:
        this.#put('\r');
        this.#terminal.column = 0;
        this.move(row, 0);
        break;
      case NEWLINE:
        this.#goToRow(row);
        this.#newline(row, column);
        break;
      default:
        if (!isColoured || code !== last.code) this.#draw(row, column, code, attribute);
        if (column + 1 < COLUMNS) this.move(row, column + 1);
        else {
          this.#put('\r');
          this.#terminal.column = 0;
          this.#newline(row, 0);
        }
    }
    this.flush();
  }

  /** Prints `count` times from the cursor on, which stays where it is. */
  repeat(code: number, attribute: number, count: number): void {
    const first = this.row * COLUMNS + this.column;
    const end = Math.min(first + count, ROWS * COLUMNS);
    if (count === 1) this.#terminal.last = { place: first, code, attribute };
    for (let at = first; at < end; at++) this.#draw(Math.floor(at / COLUMNS), at % COLUMNS, code, attribute);
    this.flush();
  }

  clearWindow(window: Window, attribute: number): void {
    if (isWhole(window)) {
      this.#text.clear(window, attribute);
      this.#colour(attribute);
      this.#put('\x1b[2J');
    } else for (const [row, column] of placesOf(window)) this.#draw(row, column, 0x20, attribute);
    this.flush();
  }

  /** @param lines down, or up if it is negative */
  scrollWindow(window: Window, lines: number, attribute: number): void {
    const { top, left, bottom, right } = window;
    this.#text.scroll(window, lines, attribute);
    if (left === 0 && right === COLUMNS - 1) {
      this.#colour(attribute);
      this.#put(`\x1b[${top + 1};${bottom + 1}r\x1b[${Math.abs(lines)}${lines < 0 ? 'S' : 'T'}\x1b[r`);
      this.#terminal.column = UNKNOWN;
    } else
      for (const [row, column] of placesOf(window)) {
        const cell = this.#text.get(row, column);
        this.#draw(row, column, cell & 0xff, cell >> 8);
      }
    this.flush();
  }

  #put(text: string): void {
    if (this.#terminal.clear) {
      this.#pending += '\x1b[0m\x1b[2J\x1b[H';
      Object.assign(this.#terminal, initial());
    }
    this.#pending += text;
  }

  #newline(row: number, column: number): void {
    this.#put('\n');
    if (row === ROWS - 1) this.#text.scroll(WHOLE, -1, NORMAL);
    const next = Math.min(row + 1, ROWS - 1);
    this.#terminal.row = next;
    this.move(next, column);
  }

  #draw(row: number, column: number, code: number, attribute: number): void {
    this.#text.set(row, column, code, attribute);
    this.#put('');
    this.#goTo(row, column);
    this.#colour(attribute);
    this.#put(glyph(code));
    // Behind the last column terminals differ.
    this.#terminal.column = column + 1 < COLUMNS ? column + 1 : UNKNOWN;
  }

  #goToRow(row: number): void {
    this.#put('');
    if (this.#terminal.row !== row) this.#goTo(row, Math.max(0, this.#terminal.column));
  }

  #goTo(row: number, column: number): void {
    const { row: atRow, column: atColumn } = this.#terminal;
    if (atRow === row && atColumn === column) return;
    this.#put(`\x1b[${row + 1};${column + 1}H`);
    Object.assign(this.#terminal, { row, column });
  }

  #colour(attribute: number): void {
    if (attribute === this.#terminal.attribute) return;
    this.#terminal.attribute = attribute;
    if (attribute === NORMAL) return this.#put('\x1b[0m');
    // An attribute's colours count blue, green, red; ECMA-48's red, green, blue.
    const [foreground, background] = [attribute & 7, (attribute >> 4) & 7].map(c => '04261537'[c]);
    this.#put(`\x1b[0;${attribute & 8 ? '1;' : ''}3${foreground};4${background}m`);
  }
}
