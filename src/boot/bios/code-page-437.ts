/** Code page 437, the characters of a PC's display, as UTF-8 terminals have them. */

const CONTROLS = ' ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼';
const UPPER =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0';

/** What a display shows for a byte. */
export function glyph(code: number): string {
  if (code < 0x20) return CONTROLS[code];
  if (code === 0x7f) return '⌂';
  return code < 0x80 ? String.fromCharCode(code) : UPPER[code - 0x80];
}
