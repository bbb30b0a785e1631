/** CRC32 (SDM 2A): CRC-32C (Castagnoli), bits reflected, by tables: what each byte leaves after up to seven more. */
import { Body } from '../../wasm/module.ts';
import { CRC_TABLES } from './state.ts';

const POLYNOMIAL = 0x82f63b78;
const BYTES = 8;

/** Writes the tables to their place in the WebAssembly memory: table n follows a byte by n zero bytes. */
export function writeCrcTables(view: DataView): void {
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let n = 0; n < BYTES; n++) {
      for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
      view.setUint32(CRC_TABLES + 1024 * n + 4 * byte, crc, true);
    }
  }
}

/** (remainder so far, source, its size in bytes: 1, 2, 4 or 8) -> remainder. */
export function crc32Body(): Body {
  const b = new Body(['i32', 'i64', 'i32'], ['i32']);
  const [crc, source, size] = [0, 1, 2];
  b.get(source);
  b.get(crc);
  b.op('i64.extend_i32_u');
  b.op('i64.xor');
  b.set(source);
  for (const bytes of [8, 4, 2, 1]) {
    b.get(size);
    b.i32(bytes);
    b.op('i32.eq');
    b.if();
    // What of the remainder no byte of the source meets.
    if (bytes < 4) {
      b.get(crc);
      b.i32(8 * bytes);
      b.op('i32.shr_u');
    }
    for (let i = 0; i < bytes; i++) {
      b.get(source);
      b.i64(BigInt(8 * i));
      b.op('i64.shr_u');
      b.op('i32.wrap_i64');
      b.i32(0xff);
      b.op('i32.and');
      b.i32(2);
      b.op('i32.shl');
      b.memory('i32.load', CRC_TABLES + 1024 * (bytes - 1 - i));
      if (i > 0 || bytes < 4) b.op('i32.xor');
    }
    b.return();
    b.end();
  }
  b.unreachable();
  return b;
}
