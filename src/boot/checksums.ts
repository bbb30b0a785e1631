/** The checksums that packed files carry: CRC-32 (gzip, xz) and CRC-64 (xz, ECMA-182), both reflected. */

const CRC32_POLYNOMIAL = 0xedb88320;
const CRC64_POLYNOMIAL = 0xc96c5795d7870f42n;

let table32: Uint32Array | undefined;
/** CRC-64's table, low and high words apart: bigints would take a hundred times longer. */
let table64: { low: Uint32Array; high: Uint32Array } | undefined;

export function crc32(bytes: Uint8Array): number {
  table32 ??= Uint32Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? CRC32_POLYNOMIAL ^ (value >>> 1) : value >>> 1;
    return value;
  });
  let crc = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) crc = table32[(crc ^ bytes[at]) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

export function crc64(bytes: Uint8Array): bigint {
  table64 ??= makeTable64();
  let low = 0xffffffff;
  let high = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) {
    const index = (low ^ bytes[at]) & 0xff;
    low = ((low >>> 8) | (high << 24)) ^ table64.low[index];
    high = (high >>> 8) ^ table64.high[index];
  }
  return (BigInt(~high >>> 0) << 32n) | BigInt(~low >>> 0);
}

function makeTable64(): { low: Uint32Array; high: Uint32Array } {
  const table = { low: new Uint32Array(256), high: new Uint32Array(256) };
  for (let index = 0; index < 256; index++) {
    let value = BigInt(index);
    for (let bit = 0; bit < 8; bit++) value = value & 1n ? CRC64_POLYNOMIAL ^ (value >> 1n) : value >> 1n;
    table.low[index] = Number(value & 0xffffffffn);
    table.high[index] = Number(value >> 32n);
  }
  return table;
}
