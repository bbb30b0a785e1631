/** Addresses in bytes and in text. */

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join(':');
}

/** 4 or 16 bytes, as RFC 5952 wants IPv6 addresses written. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  let best = 0;
  let bestAt = -1;
  for (let at = 0, run = 0; at < 8; at++) {
    run = bytes[2 * at] === 0 && bytes[2 * at + 1] === 0 ? run + 1 : 0;
    if (run > best && run > 1) [best, bestAt] = [run, at - run + 1];
  }
  let text = '';
  for (let at = 0; at < 8; at++) {
    if (at === bestAt) {
      text += '::';
      at += best - 1;
    } else
      text += `${text === '' || text.endsWith(':') ? '' : ':'}${((bytes[2 * at] << 8) | bytes[2 * at + 1]).toString(16)}`;
  }
  return text;
}

/** @returns undefined for what is no address in dotted form */
export function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every(part => /^\d{1,3}$/.test(part) && Number(part) < 256)) return undefined;
  return Uint8Array.from(parts, Number);
}

/** @returns undefined for what is no IPv6 address; one with a zone (`%eth0`) is none here */
export function parseIpv6(text: string): Uint8Array | undefined {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted) {
    const v4 = parseIpv4(dotted[2]);
    if (!v4) return undefined;
    const word = (at: number) => ((v4[at] << 8) | v4[at + 1]).toString(16);
    text = `${dotted[1]}${word(0)}:${word(2)}`;
  }
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [first, last] = halves.map(half => (half === '' ? [] : half.split(':')));
  const missing = 8 - first.length - (last?.length ?? 0);
  if (last ? missing < 1 : missing !== 0) return undefined;
  const words = [...first, ...new Array<string>(missing).fill('0'), ...(last ?? [])];
  if (!words.every(word => /^[0-9a-f]{1,4}$/i.test(word))) return undefined;
  const bytes = new Uint8Array(16);
  for (const [at, word] of words.entries()) new DataView(bytes.buffer).setUint16(2 * at, Number.parseInt(word, 16));
  return bytes;
}

export function parseAddress(text: string): Uint8Array | undefined {
  return parseIpv4(text) ?? parseIpv6(text);
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}

/** The first `bits` of both are the same. */
export function samePrefix(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < bits; at += 8) {
    const mask = bits - at >= 8 ? 0xff : 0xff << (8 - (bits - at));
    if ((a[at >> 3] ^ b[at >> 3]) & mask) return false;
  }
  return true;
}
