/** Packets of gdb's remote protocol (GDB manual, appendix E.1): bytes in, packets out. */

/** Bytes of a packet's data, as it is sent. */
export const PACKET_SIZE = 0x4000;

const [DOLLAR, HASH, PLUS, MINUS, ESCAPE, STAR, INTERRUPT] = [0x24, 0x23, 0x2b, 0x2d, 0x7d, 0x2a, 0x03];

export type Received =
  /** The data of a packet, unescaped, as Latin-1: a character is a byte. */
  | { kind: 'packet'; data: string }
  /** A packet with a wrong checksum. */
  | { kind: 'damaged' }
  /** A packet that is too long to be one; its data are gone. */
  | { kind: 'oversized' }
  /** The other side wants the latest packet again. */
  | { kind: 'again' }
  /** Ctrl-C. */
  | { kind: 'interrupt' };

/** Takes bytes in any pieces. What is between packets and means nothing is passed over. */
export class PacketReader {
  /** Data of the packet so far, as sent; undefined between packets. */
  #data: number[] | undefined;
  #oversized = false;
  #sum = 0;
  /** The checksum's digits so far; undefined before them. */
  #digits: string | undefined;

  *read(bytes: Uint8Array): Generator<Received> {
    for (const byte of bytes) {
      const received = this.#byte(byte);
      if (received) yield received;
    }
  }
  #byte(byte: number): Received | undefined {
    if (this.#digits !== undefined) {
      this.#digits += String.fromCharCode(byte);
      return this.#digits.length === 2 ? this.#complete(this.#digits) : undefined;
    }
    if (byte === DOLLAR) {
      // Within a packet it would be escaped: the rest of that one was lost.
      this.#data = [];
      this.#oversized = false;
      this.#sum = 0;
    } else if (!this.#data) {
      if (byte === INTERRUPT) return { kind: 'interrupt' };
      if (byte === MINUS) return { kind: 'again' };
    } else if (byte === HASH) this.#digits = '';
    else {
      this.#sum = (this.#sum + byte) & 0xff;
      if (this.#data.length < PACKET_SIZE) this.#data.push(byte);
      else this.#oversized = true;
    }
    return undefined;
  }
  #complete(digits: string): Received {
    const data = this.#data!;
    this.#data = undefined;
    this.#digits = undefined;
    if (!/^[0-9a-f]{2}$/i.test(digits) || Number.parseInt(digits, 16) !== this.#sum) return { kind: 'damaged' };
    if (this.#oversized) return { kind: 'oversized' };
    return { kind: 'packet', data: unescaped(data) };
  }
}

function unescaped(data: readonly number[]): string {
  let text = '';
  for (let i = 0; i < data.length; i++) {
    const isEscape = data[i] === ESCAPE && i + 1 < data.length;
    text += String.fromCharCode(isEscape ? data[++i]! ^ 0x20 : data[i]!);
  }
  return text;
}

/** A packet as it is sent. @param data Latin-1 */
export function packet(data: string): Uint8Array {
  const bytes = [DOLLAR];
  let sum = 0;
  const put = (byte: number) => {
    bytes.push(byte);
    sum = (sum + byte) & 0xff;
  };
  for (const character of data) {
    const byte = character.charCodeAt(0) & 0xff;
    if (byte === DOLLAR || byte === HASH || byte === ESCAPE || byte === STAR) {
      put(ESCAPE);
      put(byte ^ 0x20);
    } else put(byte);
  }
  bytes.push(
    HASH,
    ...sum
      .toString(16)
      .padStart(2, '0')
      .split('')
      .map(digit => digit.charCodeAt(0)),
  );
  return Uint8Array.from(bytes);
}
export const ACKNOWLEDGED = Uint8Array.of(PLUS);
export const NOT_ACKNOWLEDGED = Uint8Array.of(MINUS);

export const toHex = (bytes: Iterable<number>): string =>
  Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
/** Undefined for what is not an even number of hexadecimal digits. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 || !/^[0-9a-f]*$/i.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}
/** Text as hexadecimal digits of its bytes, as messages for people are sent. */
export const textToHex = (text: string): string => toHex(new TextEncoder().encode(text));
