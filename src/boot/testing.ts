/** Little kernels made for tests: ELF files and bzImages with exactly the parts a test wants. */
import { BOOT_FLAG, HEADER_MAGIC, SETUP } from './bzimage.ts';
import { EM_386, EM_X86_64, ET_EXEC, PT_LOAD, PT_NOTE } from './elf.ts';

export interface ElfRecipe {
  class?: 32 | 64;
  entry?: number;
  machine?: number;
  type?: number;
  segments?: { address: number; data: Uint8Array; memorySize?: number; virtualAddress?: bigint }[];
  notes?: { owner: string; type: number; data: Uint8Array }[];
  sections?: { name: string; data: Uint8Array; type?: number }[];
}

export function u32(value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value, true);
  return out;
}

export function u64(value: bigint): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, value, true);
  return out;
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

export function makeElf(recipe: ElfRecipe = {}): Uint8Array {
  const wide = (recipe.class ?? 64) === 64;
  const { segments = [], notes = [], sections = [] } = recipe;
  const noteBytes = notes.flatMap(({ owner, type, data }) => {
    const name = pad4([...text(`${owner}\0`)]);
    return [...u32(owner.length + 1), ...u32(data.length), ...u32(type), ...name, ...pad4([...data])];
  });
  const [headerSize, programSize, sectionSize] = wide ? [64, 56, 64] : [52, 32, 40];
  const programs = segments.length + (notes.length > 0 ? 1 : 0);
  const body: number[] = [];
  const bodyStart = headerSize + programs * programSize;
  const append = (data: ArrayLike<number>): number => {
    while (body.length % 8) body.push(0);
    const at = bodyStart + body.length;
    for (let index = 0; index < data.length; index++) body.push(data[index]);
    return at;
  };
  const word = (value: number | bigint) => (wide ? [...u64(BigInt(value))] : [...u32(Number(value))]);
  const table: number[] = [];
  const program = (
    type: number,
    offset: number,
    address: number,
    virtual: bigint,
    size: number,
    memorySize: number,
  ) => {
    const [file, addresses] = [word(offset), [...word(BigInt.asUintN(wide ? 64 : 32, virtual)), ...word(address)]];
    const sizes = [...word(size), ...word(memorySize)];
    if (wide) table.push(...u32(type), ...u32(7), ...file, ...addresses, ...sizes, ...word(4));
    else table.push(...u32(type), ...file, ...addresses, ...sizes, ...u32(7), ...word(4));
  };
  for (const { address, data, memorySize, virtualAddress } of segments)
    program(PT_LOAD, append(data), address, virtualAddress ?? BigInt(address), data.length, memorySize ?? data.length);
  if (notes.length > 0) program(PT_NOTE, append(noteBytes), 0, 0n, noteBytes.length, noteBytes.length);

  const all = sections.length > 0 ? [{ name: '', data: new Uint8Array(), type: 0 }, ...sections] : [];
  const names = `${all.map(({ name }) => name).join('\0')}\0.shstrtab\0`;
  if (all.length > 0) all.push({ name: '.shstrtab', data: text(names), type: 3 });
  const rows = all.flatMap(({ name, data, type = 1 }) => {
    const at = append(data);
    const nameAt = name === '' ? 0 : names.indexOf(`\0${name}\0`) + 1;
    const tail = [...u32(0), ...u32(0), ...word(4), ...word(0)];
    return [...u32(nameAt), ...u32(type), ...word(0), ...word(0), ...word(at), ...word(data.length), ...tail];
  });
  const sectionStart = all.length > 0 ? append(rows) : 0;
  const u16 = (value: number) => [value & 0xff, value >> 8];
  const header = [
    ...[0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...[...u16(recipe.type ?? ET_EXEC), ...u16(recipe.machine ?? (wide ? EM_X86_64 : EM_386)), ...u32(1)],
    ...[...word(recipe.entry ?? 0), ...word(programs > 0 ? headerSize : 0), ...word(sectionStart), ...u32(0)],
    ...[headerSize, programSize, programs, sectionSize, all.length, Math.max(0, all.length - 1)].flatMap(u16),
  ];
  return Uint8Array.from([...header, ...table, ...body]);
}

export interface BzImageRecipe {
  /** Already packed, with whatever follows it. */
  payload?: Uint8Array;
  version?: number;
  entry64?: boolean;
  commandLineSize?: number;
  initrdAddressMax?: number;
  kernelVersion?: string;
}

export function makeBzImage(recipe: BzImageRecipe = {}): Uint8Array {
  const payload = recipe.payload ?? new Uint8Array(16);
  const codeOffset = 1024;
  const payloadOffset = 0x240;
  const codeSize = Math.ceil((payloadOffset + payload.length) / 16) * 16;
  const out = new Uint8Array(codeOffset + codeSize);
  const view = new DataView(out.buffer);
  out[SETUP.setup_sects] = 1;
  view.setUint32(SETUP.syssize, codeSize / 16, true);
  view.setUint16(SETUP.boot_flag, BOOT_FLAG, true);
  out[SETUP.jump] = 0xeb;
  out[SETUP.jump + 1] = 0x6a;
  view.setUint32(SETUP.header, HEADER_MAGIC, true);
  view.setUint16(SETUP.version, recipe.version ?? 0x20f, true);
  view.setUint16(SETUP.kernel_version, 0x100, true);
  out.set(text(`${recipe.kernelVersion ?? '6.1.0-test (somebody) #1'}\0`), 0x300);
  out[SETUP.loadflags] = 1;
  view.setUint32(SETUP.initrd_addr_max, recipe.initrdAddressMax ?? 0x7fffffff, true);
  view.setUint32(SETUP.kernel_alignment, 0x200000, true);
  out[SETUP.relocatable_kernel] = 1;
  view.setUint16(SETUP.xloadflags, recipe.entry64 === false ? 0 : 1, true);
  view.setUint32(SETUP.cmdline_size, recipe.commandLineSize ?? 2047, true);
  view.setUint32(SETUP.payload_offset, payloadOffset, true);
  view.setUint32(SETUP.payload_length, payload.length, true);
  view.setBigUint64(SETUP.pref_address, 0x1000000n, true);
  view.setUint32(SETUP.init_size, 0x200000, true);
  out.set(payload, codeOffset + payloadOffset);
  return out;
}

/** An LZ4 legacy frame that stores `data` as it is, in blocks of literals alone. */
export function storeLz4(data: Uint8Array): Uint8Array {
  const out = [...u32(0x184c2102)];
  for (let at = 0; at < data.length; at += 1 << 20) {
    const part = data.subarray(at, at + (1 << 20));
    const length = part.length < 15 ? [part.length << 4] : [0xf0, ...lengthBytes(part.length - 15)];
    out.push(...u32(length.length + part.length), ...length);
    for (const byte of part) out.push(byte);
  }
  return Uint8Array.from(out);
}

function lengthBytes(value: number): number[] {
  return [...Array<number>(Math.floor(value / 255)).fill(255), value % 255];
}

function pad4(bytes: number[]): number[] {
  return [...bytes, ...new Uint8Array(-bytes.length & 3)];
}

/** Seeded random numbers below `limit` (xorshift32). */
export function randomNumbers(seed: number): (limit: number) => number {
  let state = seed | 1;
  return limit => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}
