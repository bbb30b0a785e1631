/** What an NVMe controller says of itself and of its namespace (NVM Express 1.3, 5.15). Texts are padded with blanks. */
import { BLOCK_BITS, MOST_PAGES_BITS, NAMESPACE, type NvmeNamespace } from './namespace.ts';

export const IDENTIFY_BYTES = 4096;
export const VERSION = 0x00010300;
/** Asynchronous events that a driver may ask for at a time. */
export const EVENTS = 4;

export interface Identity {
  readonly vendor: number;
  /** At most 20 characters of ASCII. */
  readonly serial: string;
}

/** Sizes of entries of submission and completion queues, as powers of two, least and most. */
const SUBMISSION_SIZES = 0x66;
const COMPLETION_SIZES = 0x44;
/** Optional commands: dataset management, and the writing of zeros. */
const OPTIONAL_COMMANDS = 0x04 | 0x08;
const VOLATILE_WRITE_CACHE = 1;
/** One slot of firmware, which is only read. */
const FIRMWARE = 0x03;

function text(bytes: Uint8Array, at: number, length: number, value: string): void {
  for (let index = 0; index < length; index++) bytes[at + index] = (value[index] ?? ' ').charCodeAt(0);
}

export function identifyController({ vendor, serial }: Identity): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, vendor, true);
  view.setUint16(2, vendor, true);
  text(bytes, 4, 20, serial);
  text(bytes, 24, 40, 'Polyvisor NVMe disk');
  text(bytes, 64, 8, '1.0');
  bytes[77] = MOST_PAGES_BITS;
  view.setUint32(80, VERSION, true);
  bytes[258] = 3; // aborts at a time, less one
  bytes[259] = EVENTS - 1;
  bytes[260] = FIRMWARE;
  bytes[512] = SUBMISSION_SIZES;
  bytes[513] = COMPLETION_SIZES;
  view.setUint32(516, 1, true); // namespaces
  view.setUint16(520, OPTIONAL_COMMANDS, true);
  bytes[525] = VOLATILE_WRITE_CACHE;
  const name = `nqn.2014.08.org.nvmexpress:${vendor.toString(16)}${vendor.toString(16)}${serial}`;
  for (let index = 0; index < name.length; index++) bytes[768 + index] = name.charCodeAt(index);
  return bytes;
}

/** What was deallocated reads as zeros, and zeros may be written by deallocating. */
const DEALLOCATED_IS_ZERO = 0x09;
const THIN = 0x01;
const PROTECTED = 0x01;

export function identifyNamespace({ blocks, readOnly }: NvmeNamespace): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  const view = new DataView(bytes.buffer);
  for (const at of [0, 8, 16]) view.setBigUint64(at, BigInt(blocks), true);
  bytes[24] = THIN;
  bytes[33] = DEALLOCATED_IS_ZERO;
  bytes[99] = readOnly ? PROTECTED : 0;
  view.setUint32(128, BLOCK_BITS << 16, true);
  return bytes;
}

/** Namespaces with greater numbers than `after`. */
export function namespacesAfter(after: number): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  if (after < NAMESPACE) bytes[0] = NAMESPACE;
  return bytes;
}

/** By which a namespace is known: an EUI-64, locally administered, with the controller's number. */
export function namespaceNames(number: number): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  bytes.set([1, 8, 0, 0, 0x52, 0x54, 0, 0, 0, 0, 0, number]);
  return bytes;
}

/** Log page 2 (5.14.1.2): healthy, 40 degrees Celsius. */
export function healthLog(): Uint8Array {
  const bytes = new Uint8Array(512);
  new DataView(bytes.buffer).setUint16(1, 313, true);
  bytes[3] = 100; // spare, percent
  return bytes;
}
