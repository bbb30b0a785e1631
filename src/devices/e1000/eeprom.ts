/** The adapter's EEPROM: 64 words with its address, read by wires (microwire, as a 93C46) or by a register. */
import * as at from './layout.ts';

const WORDS = 64;
/** All words add up to this, by 16 bits. */
const SUM = 0xbaba;
/** A start bit, the two bits of a read, and six of an address. */
const COMMAND_BITS = 9;
const READ = 6;

export const initialWires = () => ({
  /** EECD as it was written last. */
  wires: 0,
  /** Bits that have come since chip select rose, and how many. */
  command: 0,
  bits: 0,
  /** The next bit to go out, counted from the first of word 0; -1 while nothing is being read. */
  out: -1,
});

export type Wires = ReturnType<typeof initialWires>;

/** @param mac six bytes */
export function eepromFor(mac: Uint8Array): Uint16Array {
  const words = new Uint16Array(WORDS);
  for (let index = 0; index < 3; index++) words[index] = mac[2 * index] | (mac[2 * index + 1] << 8);
  // Initialisation control words, subsystem and device, as drivers expect of a sound one.
  words.set([0x3000, 0x1000, 0x6403], 8);
  words.set([0x001e, 0x8086, 0x100e, 0x8086], 0x0b);
  words[WORDS - 1] = SUM - words.reduce((sum, word) => sum + word, 0);
  return words;
}

/** EECD is written: bits are taken when the clock rises, and the next one goes out when it falls. */
export function moveWires(wires: Wires, value: number): void {
  const before = wires.wires;
  wires.wires = value & (at.EECD_SK | at.EECD_CS | at.EECD_DI | at.EECD_REQ);
  if (!(value & at.EECD_CS)) return;
  if (!(before & at.EECD_CS)) Object.assign(wires, { command: 0, bits: 0, out: -1 });
  if (!((value ^ before) & at.EECD_SK)) return;
  if (!(value & at.EECD_SK)) {
    if (wires.bits >= COMMAND_BITS && wires.out !== -1) wires.out = (wires.out + 1) % (WORDS * 16);
    return;
  }
  if (wires.bits >= COMMAND_BITS) return;
  wires.command = (wires.command << 1) | (value & at.EECD_DI ? 1 : 0);
  // Leading zeros are no command yet.
  if (wires.command === 0 || ++wires.bits < COMMAND_BITS) return;
  if (wires.command >> 6 !== READ) return;
  // The clock falls once before the first bit is looked at.
  wires.out = ((wires.command & 63) * 16 + WORDS * 16 - 1) % (WORDS * 16);
}

export function readWires({ wires, out }: Wires, words: Uint16Array): number {
  const high = out < 0 || ((words[out >> 4] >> (15 - (out & 15))) & 1) !== 0;
  return wires | at.EECD_PRES | (wires & at.EECD_REQ ? at.EECD_GNT : 0) | (high ? at.EECD_DO : 0);
}
