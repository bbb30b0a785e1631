/** CRC32 (SDM 2A): CRC-32C (Castagnoli), bits reflected, by tables: what each byte leaves after up to seven more. */
import { Code } from '../../wasm/code.ts';
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
  const b = new Code(new Body(['i32', 'i64', 'i32'], ['i32']));
  const [crc, source, size] = b.parameters(3);
  const mixed = b.xor(source, b.wide(crc));
  for (const bytes of [8, 4, 2, 1])
    b.when(b.eq(size, bytes), () => {
      const entries = Array.from({ length: bytes }, (_, i) => {
        const byte = b.and(b.narrow(b.shr(mixed, 8 * i)), 0xff);
        return b.fetch('i32.load', b.shl(byte, 2), CRC_TABLES + 1024 * (bytes - 1 - i));
      });
      // Of the remainder, what no byte of the source meets, goes on.
      if (bytes < 4) entries.unshift(b.shr(crc, 8 * bytes));
      b.answer(entries.reduce((x, y) => b.xor(x, y)));
    });
  return b.complete();
}
