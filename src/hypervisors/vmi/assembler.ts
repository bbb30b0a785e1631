/**
 * An assembler that does not know instructions: a line is its bytes and its text, and what is left to do is labels. The
 * text is GNU as's Intel syntax, so that rom.test.ts can have the listing assembled and compare.
 *
 * In the bytes, `>name` is an 8-bit and `>>name` a 32-bit distance to a label from behind the field, `[a-b]` the 32-bit
 * difference of two labels, `[a]` a label's offset, and `=n` the 32-bit number n; all else is hexadecimal.
 */

interface Line {
  offset: number;
  length: number;
  text: string;
}

interface Fixup {
  at: number;
  width: 1 | 4;
  /** Distance from behind the field, or the difference itself. */
  relative: boolean;
  target: string;
  minus: string | undefined;
}

export class Assembler {
  readonly bytes: number[] = [];
  readonly labels = new Map<string, number>();
  readonly #lines: Line[] = [];
  readonly #fixups: Fixup[] = [];

  get offset(): number {
    return this.bytes.length;
  }

  /** Names this place, or another one that lies outside of the code. */
  label(name: string, offset = this.offset): void {
    if (this.labels.has(name)) throw new Error(`label ${name} twice`);
    this.labels.set(name, offset);
  }

  /** One instruction, or data with a directive as its text. */
  line(code: string, text: string): void {
    const offset = this.offset;
    for (const token of code.split(' ')) this.#token(token);
    this.#lines.push({ offset, length: this.offset - offset, text });
  }

  /** Zeros up to `offset`. */
  skipTo(offset: number): void {
    if (offset < this.offset) throw new Error(`0x${offset.toString(16)} is past already`);
    while (this.offset < offset) this.bytes.push(0);
  }

  #token(token: string): void {
    const [, arrows, near, target, minus, number] =
      /^(?:(>>?)(\w[\w.]*)|\[(\w[\w.]*)(?:-(\w[\w.]*))?\]|=(\d+))$/.exec(token) ?? [];
    if (arrows) this.#reserve({ width: arrows === '>' ? 1 : 4, relative: true, target: near!, minus: undefined });
    else if (target) this.#reserve({ width: 4, relative: false, target, minus });
    else if (number) this.bytes.push(...new Uint8Array(Uint32Array.of(Number(number)).buffer));
    else if (/^[0-9a-f]{2}$/.test(token)) this.bytes.push(Number.parseInt(token, 16));
    else throw new Error(`no byte: ${token}`);
  }

  #reserve(fixup: Omit<Fixup, 'at'>): void {
    this.#fixups.push({ at: this.offset, ...fixup });
    for (let i = 0; i < fixup.width; i++) this.bytes.push(0);
  }

  /** Fills the labels in. @returns all bytes. */
  finish(): Uint8Array {
    const find = (name: string): number => {
      const offset = this.labels.get(name);
      if (offset === undefined) throw new Error(`no label ${name}`);
      return offset;
    };
    const out = Uint8Array.from(this.bytes);
    const view = new DataView(out.buffer);
    for (const { at, width, relative, target, minus } of this.#fixups) {
      const value = find(target) - (relative ? at + width : minus ? find(minus) : 0);
      if (width === 4) view.setInt32(at, value, true);
      else if (value >= -128 && value <= 127) view.setInt8(at, value);
      else throw new Error(`${target} is too far for a short jump`);
    }
    return out;
  }

  /** The lines with their bytes, for people. `base` is where offset 0 is shown. */
  listing(bytes: Uint8Array, base: number): string {
    const names = new Map<number, string[]>();
    for (const [name, offset] of this.labels) names.set(offset, [...(names.get(offset) ?? []), name]);
    const rows: string[] = [];
    for (const { offset, length, text } of this.#lines) {
      for (const name of names.get(offset) ?? []) rows.push(`${name}:`);
      const hex = [...bytes.subarray(offset, offset + length)].map(byte => byte.toString(16).padStart(2, '0'));
      for (let at = 0; at < hex.length; at += BYTES_A_ROW) {
        const address = (base + offset + at).toString(16).padStart(8, '0');
        const part = hex.slice(at, at + BYTES_A_ROW).join(' ');
        rows.push(`${address}  ${part.padEnd(3 * BYTES_A_ROW)} ${at === 0 ? text : ''}`.trimEnd());
      }
    }
    return rows.join('\n');
  }

  /** The same as a source text for GNU as, labels outside of the code included. */
  source(): string {
    const inside = new Map<number, string[]>();
    const rows = ['.intel_syntax noprefix'];
    for (const [name, offset] of this.labels)
      if (this.#lines.some(line => line.offset === offset)) inside.set(offset, [...(inside.get(offset) ?? []), name]);
      else rows.push(`${name} = start + ${offset}`);
    rows.push('start:');
    for (const { offset, text } of this.#lines) {
      rows.push(`.org ${offset}`);
      for (const name of inside.get(offset) ?? []) rows.push(`${name}:`);
      rows.push(text);
    }
    return `${rows.join('\n')}\n`;
  }
}

const BYTES_A_ROW = 8;
