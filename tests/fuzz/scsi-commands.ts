/** SCSI commands that disks are sent, most of them with sound extents. */
const CODES = [
  ...[0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x1b, 0x25, 0x28, 0x28, 0x2a, 0x2a, 0x35, 0x41, 0x42, 0x5a],
  ...[0x88, 0x8a, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xff],
];

/** A command of 16 bytes made from three numbers. */
export function commandFrom(code: number, block: number, rest: number): Uint8Array {
  const cdb = new Uint8Array(16);
  cdb[0] = CODES[code % CODES.length];
  // Low bytes of address and length, of commands of 6, 10, 12 and 16 bytes.
  const [address, length] = cdb[0] < 0x20 ? [3, 4] : cdb[0] < 0x60 ? [5, 8] : cdb[0] >= 0xa0 ? [5, 9] : [9, 13];
  cdb[address - 1] = (block >> 8) & (block % 3 ? 1 : 0xff);
  cdb[address] = block;
  cdb[length] = rest % 9;
  if (rest % 4 === 0) cdb[1 + (block % 15)] = rest >> 4;
  return cdb;
}
