/**
 * The symbol table that a Linux kernel carries for its own messages (CONFIG_KALLSYMS; scripts/kallsyms.c writes it,
 * kernel/kallsyms.c reads it), found in an image that has no other. No header says where it is, so it is recognised by the
 * one part whose contents are known, and everything read from there on is checked:
 *
 *     token_table   256 strings; those of bytes that no name is short for are the bytes' own characters
 *     token_index   where each begins: 256 16-bit offsets
 *     markers       before the tokens: where each 256th name begins, 32-bit (64-bit before Linux 4.20); since Linux 6.2 the
 *                   order of the names by alphabet stands in between
 *     names         before the markers: length (one byte, or two if the first has bit 7), then tokens; the first character
 *                   of the text is the symbol's type
 *     num_syms      before the names
 *     offsets       32-bit, and the base they count from: before num_syms (to Linux 6.3) or after token_index (since 6.4).
 *                   Kernels before 4.6 have whole addresses instead.
 */
import type { KernelSymbol } from './symbols.ts';

const TOKENS = 256;
/** Names between two markers. */
const GROUP = 256;
/** More symbols than any kernel has. */
const MOST_SYMBOLS = 1 << 20;
/** Steps that the search may take: an image made to look like tables all over would else take for ever. */
const MOST_STEPS = 1 << 28;
/** As the digits stand in the token table: no name is short for a digit. */
const DIGITS = Uint8Array.from([...'0123456789'].flatMap(digit => [digit.charCodeAt(0), 0]));

interface Tables {
  count: number;
  names: number;
  /** Of num_syms. */
  start: number;
  /** After token_index. */
  end: number;
  tokens: string[];
}

/** @param wide a 64-bit kernel. @returns nothing where there is no table, or none of a known form. */
export function readKallsyms(bytes: Uint8Array, wide: boolean): KernelSymbol[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const budget = { steps: MOST_STEPS };
  for (let at = indexOf(bytes, DIGITS, 0); at >= 0; at = indexOf(bytes, DIGITS, at + 1)) {
    const tables = readTables(bytes, view, at, budget);
    if (!tables) continue;
    const names = readNames(bytes, tables);
    const addresses = names && readAddresses(view, tables, wide, names);
    if (names && addresses) return names.map((name, index) => ({ address: addresses[index]!, name: name.slice(1) }));
  }
  return [];
}

function readTables(bytes: Uint8Array, view: DataView, digits: number, budget: { steps: number }): Tables | undefined {
  // 48 tokens stand before that of "0".
  let table = digits;
  for (let left = 0x30; left > 0; left--) {
    let previous = table - 2;
    while (previous >= 0 && bytes[previous] !== 0) previous--;
    if (previous < 0 || table - previous > 64) return undefined;
    table = previous + 1;
  }
  const tokens: string[] = [];
  const offsets: number[] = [];
  let end = table;
  for (let index = 0; index < TOKENS; index++) {
    const zero = bytes.indexOf(0, end);
    if (zero < 0 || zero - end > 64) return undefined;
    offsets.push(end - table);
    tokens.push(text(bytes, end, zero));
    end = zero + 1;
  }
  const index = [1, 2, 4, 8]
    .map(alignment => Math.ceil(end / alignment) * alignment)
    .find(at => {
      if (at + 2 * TOKENS > bytes.length) return false;
      return offsets.every((offset, token) => view.getUint16(at + 2 * token, true) === offset);
    });
  if (index === undefined) return undefined;
  const found = findNames(bytes, view, table, budget);
  return found && { ...found, end: index + 2 * TOKENS, tokens };
}

/** Backwards from the token table to a number that so many names follow, and the markers them. */
function findNames(bytes: Uint8Array, view: DataView, table: number, budget: { steps: number }) {
  for (let start = (table & ~3) - 4; start >= 0 && budget.steps > 0; start -= 4) {
    budget.steps--;
    const count = view.getUint32(start, true);
    const distance = table - start;
    if (count < GROUP || count > MOST_SYMBOLS || distance < count * 3 || distance > count * 64) continue;
    for (const names of [start + 4, start + 8]) {
      budget.steps -= count;
      const end = skipNames(bytes, names, count, table);
      if (end < 0) continue;
      const first = skipNames(bytes, names, GROUP, table) - names;
      for (const markers of [Math.ceil(end / 4) * 4, Math.ceil(end / 8) * 8]) {
        if (markers + 16 > table || view.getUint32(markers, true) !== 0) continue;
        const second = view.getUint32(markers + 4, true) || view.getUint32(markers + 8, true);
        if (second === first) return { count, names, start };
      }
    }
  }
  return undefined;
}

/** Where a name's tokens begin, and how many there are. */
function nameAt(bytes: Uint8Array, at: number): { tokens: number; length: number } {
  const first = bytes[at]!;
  return first & 0x80
    ? { tokens: at + 2, length: (first & 0x7f) | (bytes[at + 1]! << 7) }
    : { tokens: at + 1, length: first };
}

/** Where `count` names end, or -1 if that is beyond `limit`. */
function skipNames(bytes: Uint8Array, at: number, count: number, limit: number): number {
  for (; count > 0 && at < limit; count--) {
    const { tokens, length } = nameAt(bytes, at);
    if (length === 0) return -1;
    at = tokens + length;
  }
  return at <= limit ? at : -1;
}

/** Types and names: `Tstart_kernel`. */
function readNames(bytes: Uint8Array, { count, names, tokens }: Tables): string[] | undefined {
  const list: string[] = [];
  for (let at = names, index = 0; index < count; index++) {
    const name = nameAt(bytes, at);
    at = name.tokens + name.length;
    if (name.length === 0 || at > bytes.length) return undefined;
    let whole = '';
    for (let token = name.tokens; token < at; token++) whole += tokens[bytes[token]!];
    list.push(whole);
  }
  return list;
}

/** The symbol that begins the kernel's text, whose address must come out as one of a kernel's. */
const TEXT = /^[Tt](?:_text|_stext|startup_64|startup_32)$/;

function readAddresses(view: DataView, { count, start, end }: Tables, wide: boolean, names: readonly string[]) {
  const first = names.findIndex(name => TEXT.test(name));
  const word = wide ? 8 : 4;
  const plausible = (addresses: bigint[]) => {
    const address = addresses[first < 0 ? count >> 1 : first]!;
    return wide ? address >= 0xffffffff80000000n : address >= 0x80000000n && address <= 0xffffffffn;
  };
  const relative = (offsets: number, base: number) => {
    if (offsets < 0 || Math.max(base + word, offsets + 4 * count) > view.byteLength) return undefined;
    const from = wide ? view.getBigUint64(base, true) : BigInt(view.getUint32(base, true));
    // Per-processor symbols are absolute and positive, all others one less than the negated offset (to Linux 6.14).
    const values = Array.from({ length: count }, (_, index) => view.getInt32(offsets + 4 * index, true));
    const signed = values.some(value => value < 0);
    return values.map(value =>
      signed && wide ? (value < 0 ? from - 1n - BigInt(value) : BigInt(value)) : from + BigInt(value >>> 0),
    );
  };
  const whole = (from: number) => {
    if (from < 0) return undefined;
    return Array.from({ length: count }, (_, index) =>
      wide ? view.getBigUint64(from + 8 * index, true) : BigInt(view.getUint32(from + 4 * index, true)),
    );
  };
  const align = (at: number, to: number) => Math.ceil(at / to) * to;
  const base = Math.floor((start - word) / word) * word;
  const candidates = [
    () => relative(Math.floor((base - 4 * count) / 8) * 8, base),
    () => relative(base - 4 * count, base),
    ...[8, 4].map(to => () => relative(align(end, to), align(align(end, to) + 4 * count, word))),
    () => whole(base + word - word * count),
  ];
  for (const candidate of candidates) {
    const addresses = candidate();
    if (addresses && plausible(addresses)) return addresses;
  }
  return undefined;
}

function text(bytes: Uint8Array, from: number, to: number): string {
  let out = '';
  for (let at = from; at < to; at++) out += String.fromCharCode(bytes[at]!);
  return out;
}

function indexOf(bytes: Uint8Array, wanted: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(wanted[0]!, from); at >= 0; at = bytes.indexOf(wanted[0]!, at + 1)) {
    let same = 1;
    while (same < wanted.length && bytes[at + same] === wanted[same]) same++;
    if (same === wanted.length) return at;
  }
  return -1;
}
