/**
 * An encoder for the little ACPI Machine Language that our tables need: names, packages, devices and resource templates
 * (ACPI specification 6.5, chapter 20 for the language, 6.4 for resources). Every function returns finished bytes; nesting
 * calls nests terms.
 */

export type Aml = Uint8Array;

const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const PACKAGE_OP = 0x12;
const ROOT_CHARACTER = 0x5c;
const DUAL_NAME_PREFIX = 0x2e;
const MULTI_NAME_PREFIX = 0x2f;
const EXTENDED_PREFIX = 0x5b;
const DEVICE_OP = 0x82;

function join(...parts: (Aml | readonly number[])[]): Aml {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function little(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
}

/** PkgLength counts itself and what follows it: 6 bits in one byte, or 4 and another one to three bytes. */
function withLength(content: Aml): Aml {
  if (content.length + 1 < 64) return join([content.length + 1], content);
  const extra = content.length + 2 < 2 ** 12 ? 1 : content.length + 3 < 2 ** 20 ? 2 : 3;
  const total = content.length + 1 + extra;
  return join([(extra << 6) | (total & 15), ...little(total >> 4, extra)], content);
}

/** A NameString: `\_SB.PCI0`, segments padded to four characters. */
function path(name: string): Aml {
  const root = name.startsWith('\\');
  const segments = name
    .slice(root ? 1 : 0)
    .split('.')
    .map(segment => [...segment.padEnd(4, '_')].map(c => c.charCodeAt(0)));
  if (segments.some(segment => segment.length !== 4)) throw new Error(`not an ACPI name: ${name}`);
  const prefix =
    segments.length === 1 ? [] : segments.length === 2 ? [DUAL_NAME_PREFIX] : [MULTI_NAME_PREFIX, segments.length];
  return join(root ? [ROOT_CHARACTER] : [], prefix, segments.flat());
}

/** The shortest encoding of an integer up to 2^32 - 1. */
export function integer(value: number): Aml {
  if (value === 0) return join([ZERO_OP]);
  if (value === 1) return join([ONE_OP]);
  if (value < 2 ** 8) return join([BYTE_PREFIX, value]);
  if (value < 2 ** 16) return join([WORD_PREFIX], little(value, 2));
  return join([DWORD_PREFIX], little(value, 4));
}

export function string(text: string): Aml {
  return join(
    [STRING_PREFIX],
    [...text].map(c => c.charCodeAt(0)),
    [0],
  );
}

/** A compressed EISA id such as PNP0501: three letters of 5 bits, four hexadecimal digits, big end first. */
export function eisaId(id: string): Aml {
  const letter = (i: number) => id.charCodeAt(i) - 0x40;
  const word = ((letter(0) << 10) | (letter(1) << 5) | letter(2)) * 65536 + Number.parseInt(id.slice(3), 16);
  return join([DWORD_PREFIX], little(word, 4).reverse());
}

export function name(of: string, value: Aml): Aml {
  return join([NAME_OP], path(of), value);
}

export function scope(of: string, ...terms: Aml[]): Aml {
  return join([SCOPE_OP], withLength(join(path(of), ...terms)));
}

export function device(of: string, ...terms: Aml[]): Aml {
  return join([EXTENDED_PREFIX, DEVICE_OP], withLength(join(path(of), ...terms)));
}

/** `Package` of at most 255 elements. */
export function pack(...elements: Aml[]): Aml {
  return join([PACKAGE_OP], withLength(join([elements.length], ...elements)));
}

/** A resource template: descriptors and the end tag, in a buffer. */
export function resources(...descriptors: Aml[]): Aml {
  const bytes = join(...descriptors, [0x79, 0]);
  return join([BUFFER_OP], withLength(join(integer(bytes.length), bytes)));
}

/** A fixed range of I/O ports, all 16 address bits decoded (6.4.2.5). */
export function io(port: number, size: number): Aml {
  return join([0x47, 0x01], little(port, 2), little(port, 2), [0x01, size]);
}

/** An edge-triggered, active-high, exclusive ISA interrupt (6.4.2.1). */
export function irq(line: number): Aml {
  return join([0x22], little(1 << line, 2));
}

/** Address ranges that a bridge passes on (6.4.3.5). */
export function busNumbers(first: number, last: number): Aml {
  return addressSpace(2, 0, 2, first, last);
}

export function ioWindow(first: number, last: number): Aml {
  // Type-specific flags: ISA and non-ISA addresses alike.
  return addressSpace(1, 0x03, 2, first, last);
}

/** Non-cacheable, read-write memory. */
export function memoryWindow(first: number, last: number): Aml {
  return addressSpace(0, 0x01, 4, first, last);
}

/** An address-space descriptor with fixed ends, positively decoded, of 2- or 4-byte fields. */
function addressSpace(type: number, typeFlags: number, fieldSize: 2 | 4, first: number, last: number): Aml {
  const fields = [0, first, last, 0, last - first + 1].flatMap(value => little(value, fieldSize));
  const content = [type, 0x0c, typeFlags, ...fields];
  return join([fieldSize === 2 ? 0x88 : 0x87], little(content.length, 2), content);
}

export function concatenate(terms: readonly Aml[]): Aml {
  return join(...terms);
}
