/** What a disk says of itself: INQUIRY with its vital product data pages, and mode pages (SPC-4 6.4, 7.8; SBC-3 6.4, 6.5). */
import { SECTOR_SIZE } from './sector.ts';

/** Who the disk says it is. A transport gives it the names that its drivers know. */
export interface Identity {
  /** At most 8 characters of ASCII. */
  readonly vendor: string;
  /** At most 16. */
  readonly product: string;
  /** At most 4. */
  readonly revision: string;
  /** At most 20; differs among the disks of a machine. */
  readonly serial: string;
  /** Differs among the disks of a machine. */
  readonly number: number;
}

/** Most blocks that one UNMAP descriptor or WRITE SAME may clear: the host may have to write the zeros. */
export const MOST_BLOCKS_CLEARED = 2 ** 16;
export const MOST_UNMAP_DESCRIPTORS = 16;

/** INQUIRY's first byte where there is no such logical unit. */
export const NO_SUCH_UNIT = 0x7f;
const VERSION_SPC_4 = 6;
const RESPONSE_FORMAT = 2;
const COMMAND_QUEUING = 0x02;

function text(into: Uint8Array, at: number, length: number, value: string): void {
  for (let i = 0; i < length; i++) into[at + i] = i < value.length ? value.charCodeAt(i) & 0x7f : 0x20;
}

/** Standard INQUIRY data. @param identity undefined: of a logical unit that is not there */
export function inquiryData(identity: Identity | undefined): Uint8Array {
  const bytes = new Uint8Array(36);
  bytes[0] = identity ? 0 : NO_SUCH_UNIT;
  bytes[2] = VERSION_SPC_4;
  bytes[3] = RESPONSE_FORMAT;
  bytes[4] = bytes.length - 5;
  if (!identity) return bytes;
  bytes[7] = COMMAND_QUEUING;
  text(bytes, 8, 8, identity.vendor);
  text(bytes, 16, 16, identity.product);
  text(bytes, 32, 4, identity.revision);
  return bytes;
}

/** A vital product data page; undefined where there is none of that number. */
export function vitalProductData(page: number, identity: Identity, readOnly: boolean): Uint8Array | undefined {
  const body = VPD_PAGES.get(page)?.(identity, readOnly);
  if (!body) return undefined;
  const bytes = new Uint8Array(4 + body.length);
  bytes[1] = page;
  new DataView(bytes.buffer).setUint16(2, body.length);
  bytes.set(body, 4);
  return bytes;
}

/** Bodies of the pages, without the four bytes in front. */
const VPD_PAGES: ReadonlyMap<number, (identity: Identity, readOnly: boolean) => Uint8Array> = new Map([
  [0x00, () => Uint8Array.from(VPD_PAGES.keys())],
  [0x80, ({ serial }) => ascii(serial.slice(0, 20))],
  [0x83, identification],
  [0xb0, blockLimits],
  // Block device characteristics: a medium that does not rotate.
  [0xb1, () => Uint8Array.from({ length: 0x3c }, (_, index) => (index === 1 ? 1 : 0))],
  // Logical block provisioning: UNMAP, WRITE SAME (16) and (10) with UNMAP; unmapped blocks read as zeros.
  [0xb2, (_, readOnly) => Uint8Array.of(0, readOnly ? 0 : 0x80 | 0x40 | 0x20 | 0x04, readOnly ? 0 : 2, 0)],
]);

const ascii = (value: string): Uint8Array => Uint8Array.from(value, character => character.charCodeAt(0) & 0x7f);

/** Designation descriptors: a locally assigned name (NAA 3), and vendor and serial number. */
function identification({ vendor, serial, number }: Identity): Uint8Array {
  const t10 = ascii(vendor.padEnd(8) + serial.slice(0, 20));
  const bytes = new Uint8Array(4 + 8 + 4 + t10.length);
  bytes.set([1, 3, 0, 8, 0x30, 0x50, 0x56, 0x53], 0);
  new DataView(bytes.buffer).setUint32(8, number);
  bytes.set([2, 1, 0, t10.length], 12);
  bytes.set(t10, 16);
  return bytes;
}

function blockLimits(_: Identity, readOnly: boolean): Uint8Array {
  const bytes = new Uint8Array(0x3c);
  if (readOnly) return bytes;
  // Offsets count from the page's start, four bytes before the body's.
  const view = new DataView(bytes.buffer);
  view.setUint32(20 - 4, MOST_BLOCKS_CLEARED);
  view.setUint32(24 - 4, MOST_UNMAP_DESCRIPTORS);
  view.setUint32(28 - 4, 1);
  view.setBigUint64(36 - 4, BigInt(MOST_BLOCKS_CLEARED));
  return bytes;
}

const CACHING_PAGE = 0x08;
const CONTROL_PAGE = 0x0a;
export const ALL_PAGES = 0x3f;
/** Caching page: writes are cached until SYNCHRONIZE CACHE. */
const WRITE_CACHE_ENABLE = 0x04;

/** Mode pages, with whatever can be set being nothing. @returns undefined where there is no such page */
export function modePages(page: number, changeable: boolean): Uint8Array | undefined {
  const pages: [number, Uint8Array][] = [
    [CACHING_PAGE, new Uint8Array(20)],
    [CONTROL_PAGE, new Uint8Array(12)],
  ];
  const wanted = pages.filter(([number]) => page === ALL_PAGES || page === number);
  if (wanted.length === 0) return undefined;
  for (const [number, bytes] of wanted) {
    bytes[0] = number;
    bytes[1] = bytes.length - 2;
    if (number === CACHING_PAGE && !changeable) bytes[2] = WRITE_CACHE_ENABLE;
  }
  return Uint8Array.from(wanted.flatMap(([, bytes]) => [...bytes]));
}

/** READ CAPACITY (10) and (16). */
export function capacity10(blocks: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.min(blocks - 1, 0xffffffff));
  view.setUint32(4, SECTOR_SIZE);
  return bytes;
}

export function capacity16(blocks: number, readOnly: boolean): Uint8Array {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(blocks) - 1n);
  view.setUint32(8, SECTOR_SIZE);
  // Blocks can be unmapped (LBPME), and read as zeros then (LBPRZ).
  if (!readOnly) bytes[14] = 0xc0;
  return bytes;
}
