/** The configuration that a kernel with CONFIG_IKCONFIG carries (kernel/configs.c): a gzip file between two marks. */
import { decompress } from './decompress.ts';

const START = new TextEncoder().encode('IKCFG_ST');
const END = new TextEncoder().encode('IKCFG_ED');
/** Bytes of text; a configuration has some 10,000 lines. */
const LIMIT = 4 << 20;

/** The options that are set, with their values (`y`, `m`, …); undefined where the image has none. */
export async function embeddedConfig(bytes: Uint8Array): Promise<ReadonlyMap<string, string> | undefined> {
  const start = indexOf(bytes, START, 0);
  const end = start < 0 ? -1 : indexOf(bytes, END, start);
  if (end < 0) return undefined;
  let text: string;
  try {
    text = new TextDecoder().decode(await decompress(bytes.subarray(start + START.length, end), undefined, LIMIT));
  } catch {
    return undefined; // Marks by accident.
  }
  return new Map([...text.matchAll(/^(CONFIG_\w+)=(.*)$/gm)].map(([, name, value]) => [name!, value!]));
}

function indexOf(bytes: Uint8Array, wanted: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(wanted[0]!, from); at >= 0; at = bytes.indexOf(wanted[0]!, at + 1))
    if (wanted.every((value, index) => bytes[at + index] === value)) return at;
  return -1;
}
