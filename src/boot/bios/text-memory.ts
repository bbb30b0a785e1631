/**
 * The memory of a colour display in a text mode, which stands where a PC has it (IBM Color/Graphics Monitor Adapter: B8000h): two bytes a
 * place, the character and its attribute. INT 10h keeps it, so that what it has printed can be read back from there, too; nobody
 * looks at what a program stores there.
 */
import type { GuestMemory } from '../../memory/memory.ts';
import { COLUMNS, TEXT_MEMORY } from './image.ts';

/** Rows and columns, the last ones included. */
export interface Window {
  top: number;
  left: number;
  bottom: number;
  right: number;
}

export class TextMemory {
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /** A place: its character, and its attribute in the upper byte. */
  get(row: number, column: number): number {
    return this.#memory.read16(addressOf(row, column));
  }
  set(row: number, column: number, code: number, attribute: number): void {
    this.#memory.write16(addressOf(row, column), (attribute << 8) | code);
  }

  clear({ top, left, bottom, right }: Window, attribute: number): void {
    for (let row = top; row <= bottom; row++)
      for (let column = left; column <= right; column++) this.set(row, column, 0x20, attribute);
  }
  /** @param lines down, or up if it is negative; fewer than the window has. Rows that become free are blank. */
  scroll(window: Window, lines: number, attribute: number): void {
    const { top, left, bottom, right } = window;
    const move = (row: number) => {
      const from = addressOf(row - lines, left);
      this.#memory.copyIn(addressOf(row, left), this.#memory.copyOut(from, 2 * (right - left + 1)));
    };
    if (lines < 0) {
      for (let row = top; row <= bottom + lines; row++) move(row);
      this.clear({ ...window, top: bottom + lines + 1 }, attribute);
    } else {
      for (let row = bottom; row >= top + lines; row--) move(row);
      this.clear({ ...window, bottom: top + lines - 1 }, attribute);
    }
  }
}

const addressOf = (row: number, column: number): number => TEXT_MEMORY + 2 * (row * COLUMNS + column);
