/** GUIDs as they stand in memory: the first three fields are little endian, the rest as written. */

/** @param text such as `ba6163d9-04a1-4d29-b605-72e2ffb1dc7f` */
export function guidBytes(text: string): Uint8Array {
  const digits = text.replaceAll('-', '');
  const byte = (index: number) => Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16);
  return Uint8Array.from([3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15], byte);
}

/** The inverse of `guidBytes`. */
export function guidText(bytes: Uint8Array): string {
  const hex = (...places: number[]) => places.map(at => bytes[at]!.toString(16).padStart(2, '0')).join('');
  return [hex(3, 2, 1, 0), hex(5, 4), hex(7, 6), hex(8, 9), hex(10, 11, 12, 13, 14, 15)].join('-');
}

/** The kinds of our devices, for their instances' GUIDs. New ones go to the end: guests name devices by these. */
const KINDS = [
  ...(['scsi', 'network', 'shutdown', 'heartbeat', 'time-synchronization', 'key-value'] as const),
  ...(['dynamic-memory', 'socket'] as const),
] as const;

/** The GUID of the `index`-th device of a kind: the same in every machine. The last six bytes are its own. */
export function instanceGuid(kind: (typeof KINDS)[number], index = 0): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  return `706f6c79-7669-736f-7200-${hex(KINDS.indexOf(kind), 4)}${hex(index, 8)}`;
}
