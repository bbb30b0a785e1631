/**
 * An ISA chip has eight data lines. The chipset splits a wider access into byte accesses at rising addresses, so the
 * chip itself only ever sees bytes.
 */
import type { BusHandler, Width } from '../memory/bus.ts';

export interface ByteRegisters {
  /** @returns 0-255 */
  readByte(offset: number): number;
  /** @param value 0-255 */
  writeByte(offset: number, value: number): void;
}

/**
 * Puts an 8-bit chip with `size` registers on a bus. What of a wide access goes beyond the last one finds nothing
 * there.
 */
export function bytePorts(chip: ByteRegisters, size: number): BusHandler {
  return {
    read(offset: number, width: Width): number {
      if (width === 1) return chip.readByte(offset);
      let value = 0;
      for (let i = 0, scale = 1; i < width && i < 4; i++, scale *= 256) {
        value += (offset + i < size ? chip.readByte(offset + i) : 0xff) * scale;
      }
      return value;
    },
    write(offset: number, width: Width, value: number): void {
      if (width === 1) return chip.writeByte(offset, value & 0xff);
      for (let i = 0; i < width && i < 4 && offset + i < size; i++) {
        chip.writeByte(offset + i, (value >>> (8 * i)) & 0xff);
      }
    },
  };
}

/**
 * Ports where software looks for something this board does not carry: reads float high, writes vanish, nothing is
 * logged.
 */
export const emptySocket: BusHandler = {
  read: (_offset, width) => (width === 1 ? 0xff : width === 2 ? 0xffff : 0xffffffff),
  write: () => {},
};
