/**
 * Undoing xz's x86 filter (xz-file-format.txt 5.3.2). The filter looks for the opcodes E8 (CALL) and E9 (JMP) whose 32-bit
 * operand is small, that is, whose top byte is 00 or FF, and adds the address behind the instruction to it. It does not
 * decode instructions, so it must guess whether a byte E8 is an opcode or part of an operand; the guess looks back at the
 * four bytes before, and the decoder has to make the very same one.
 */

/** Bytes of an opcode with its operand. */
const LENGTH = 5;

/** Rewrites `bytes`, a whole block, in place. */
export function undoX86Filter(bytes: Uint8Array): void {
  /**
   * What the last bytes were, newest in bit 0: a set bit is an opcode byte that was left alone. Bit 4 (of the value before
   * it is shifted) says that the operand's top byte of such an opcode, which is yet to come, looked convertible.
   */
  let history = 0;
  let lastOpcode = -LENGTH;
  for (let at = 0; at + LENGTH <= bytes.length; ) {
    if ((bytes[at] & 0xfe) !== 0xe8) {
      at++;
      continue;
    }
    const distance = at - lastOpcode;
    lastOpcode = at;
    if (distance > LENGTH) history = 0;
    else for (let step = 0; step < distance; step++) history = (history & 0x77) << 1;

    const top = bytes[at + 4];
    const convertible = isSignByte(top) && PLAUSIBLE[(history >> 1) & 7] && history >> 1 < 0x10;
    if (!convertible) {
      history |= isSignByte(top) ? 0x11 : 0x01;
      at++;
      continue;
    }
    let operand = bytes[at + 1] | (bytes[at + 2] << 8) | (bytes[at + 3] << 16) | (top << 24);
    for (;;) {
      const target = (operand - (at + LENGTH)) | 0;
      if (history === 0) {
        operand = target;
        break;
      }
      // An earlier opcode byte lies inside this one's reach: had its top byte stayed a sign byte, the filter would have
      // converted again.
      const shift = OVERLAP[history >> 1] * 8;
      if (!isSignByte((target >>> (24 - shift)) & 0xff)) {
        operand = target;
        break;
      }
      operand = target ^ (shift === 0 ? -1 : (1 << (32 - shift)) - 1);
    }
    bytes[at + 1] = operand;
    bytes[at + 2] = operand >> 8;
    bytes[at + 3] = operand >> 16;
    bytes[at + 4] = (operand >> 24) & 1 ? 0xff : 0x00;
    at += LENGTH;
    history = 0;
  }
}

/** Whether an opcode is believed, by which of the three bytes before it were opcode bytes left alone. */
const PLAUSIBLE = [true, true, true, false, true, false, false, false];
/** Which operand byte, counted from the top, an earlier opcode's own top byte falls on. */
const OVERLAP = [0, 1, 2, 2, 3, 3, 3, 3];

function isSignByte(value: number): boolean {
  return value === 0x00 || value === 0xff;
}
