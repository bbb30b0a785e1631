/** Names for a kernel's addresses: of a System.map, the image's ELF symbols, or the table a kernel carries for itself. */
import { sectionData } from './elf.ts';
import type { KernelImage } from './image.ts';
import { readKallsyms } from './kallsyms.ts';

export interface KernelSymbol {
  address: bigint;
  name: string;
}

export interface Symbols {
  readonly size: number;
  has(name: string): boolean;
  /** `name+0x12`, for the symbol that `address` lies behind; undefined outside of the kernel's text and data. */
  at(address: bigint): string | undefined;
  /** The symbol's name alone. */
  nameAt(address: bigint): string | undefined;
}

/** Nothing is this far behind the symbol it belongs to, in bytes. */
const FARTHEST = 1n << 20n;

export function createSymbols(list: readonly KernelSymbol[]): Symbols {
  const sorted = [...list].sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  const names = new Set(sorted.map(({ name }) => name));
  const find = (address: bigint): KernelSymbol | undefined => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle]!.address <= address) low = middle + 1;
      else high = middle;
    }
    let found = sorted[low - 1];
    if (!found || address - found.address > FARTHEST) return undefined;
    // Of several at one address, the first is as good as any, and the same each time.
    for (let index = low - 2; sorted[index]?.address === found.address; index--) found = sorted[index]!;
    return found;
  };
  return {
    size: sorted.length,
    has: name => names.has(name),
    at(address) {
      const found = find(address);
      if (!found) return undefined;
      const offset = address - found.address;
      return offset === 0n ? found.name : `${found.name}+0x${offset.toString(16)}`;
    },
    nameAt: address => find(address)?.name,
  };
}

/** What `nm` prints and System.map holds: `ffffffff81000000 T _stext`. Other lines are passed over. */
export function parseSystemMap(text: string): Symbols {
  const list: KernelSymbol[] = [];
  for (const [, address, name] of text.matchAll(/^([0-9a-f]{8,16}) [A-Za-z] (\S+)/gm))
    list.push({ address: BigInt(`0x${address}`), name: name! });
  return createSymbols(list);
}

/** The image's own symbols: empty where it has none. */
export function kernelSymbols({ elf }: KernelImage): Symbols {
  if (!elf) return createSymbols([]);
  const own = elfSymbols(sectionData(elf, '.symtab'), sectionData(elf, '.strtab'), elf.class === 64);
  return createSymbols(own.length > 0 ? own : readKallsyms(elf.bytes, elf.class === 64));
}

/** STT_NOTYPE, STT_OBJECT, STT_FUNC (System V ABI, chapter 4): what has an address of its own. */
const LAST_USEFUL_TYPE = 2;

function elfSymbols(table: Uint8Array, strings: Uint8Array, wide: boolean): KernelSymbol[] {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const size = wide ? 24 : 16;
  const list: KernelSymbol[] = [];
  const decoder = new TextDecoder('latin1');
  for (let at = 0; at + size <= table.length; at += size) {
    const start = view.getUint32(at, true);
    const info = table[at + (wide ? 4 : 12)]!;
    const address = wide ? view.getBigUint64(at + 8, true) : BigInt(view.getUint32(at + 4, true));
    const end = strings.indexOf(0, start);
    if ((info & 15) > LAST_USEFUL_TYPE || address === 0n || end <= start) continue;
    list.push({ address, name: decoder.decode(strings.subarray(start, end)) });
  }
  return list;
}

/** `text` with the kernel's addresses in it (16 or 8 hexadecimal digits) named. */
export function annotate(text: string, symbols: Symbols): string {
  return text.replace(/\b(?:[0-9a-f]{16}|[0-9a-f]{8})\b/g, digits => {
    const name = BigInt(`0x${digits}`) >= 0x80000000n ? symbols.at(BigInt(`0x${digits}`)) : undefined;
    return name ? `${digits} <${name}>` : digits;
  });
}
