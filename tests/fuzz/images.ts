/**
 * Files that a user hands over: kernels, their packings, archives, packages. Whatever is in one, it is read or refused by an
 * ImageError, in time in proportion to its size; and nothing is placed outside of the guest's memory.
 */
import { gzipSync } from 'fflate';
import { readCpio, writeCpio } from '../../src/boot/cpio.ts';
import { compressionOf, decompress } from '../../src/boot/decompress.ts';
import { pcMemoryMap } from '../../src/boot/e820.ts';
import { embeddedConfig } from '../../src/boot/embedded-config.ts';
import { commandArchive } from '../../src/boot/exec-protocol.ts';
import { readDeb } from '../../src/boot/guest/deb.ts';
import { BUSYBOX, makeDeb, makeModule } from '../../src/boot/guest/testing.ts';
import { type KernelImage, parseKernel } from '../../src/boot/image.ts';
import { ImageError } from '../../src/boot/image-error.ts';
import { BOOT_ENTRIES, loadKernel } from '../../src/boot/load.ts';
import { annotate, kernelSymbols, parseSystemMap } from '../../src/boot/symbols.ts';
import { makeBzImage, makeElf, storeLz4, text, u32 } from '../../src/boot/testing.ts';
import { GuestMemory } from '../../src/memory/memory.ts';
import { mutate, showBytes, smallerBytes } from './bytes.ts';
import { caseFuzzer } from './fuzzer.ts';

const MIB = 1 << 20;
const RAM = 4 * MIB;
/** 720 bytes, packed by the programs whose formats they are: x86 filter and CRC-32, CRC-64, zstd, LZ4's legacy frame. */
const PACKED = [
  '/Td6WFoAAAFpIt42AgEEACEBEACLIW9J4AKnABxdACCICYaT2fajHfXTiuJpcZZAGNp4nESdEfKWQAAAp+wtIAABNKgFAAAAA7U3Kz4wDYsCAAAAAAFZWg==',
  '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4AKnABxdACCICYaT3pFSOjMRPitYX8YiGAeUjdv6yZSQAAAA3CcJF4/kdNgAATioBQAAAHh19VyxxGf7AgAAAAAEWVo=',
  'KLUv/WSoAcUAAIhBIGxpdHRsZSBrZXJuZWwuIAEAKVE1lxqW+G4=',
  'AiFMGB4AAAD/AkEgbGl0dGxlIGtlcm5lbC4gEQD//4FQbmVsLiA=',
].map(base64 => new Uint8Array(Buffer.from(base64, 'base64')));

const vmlinux = (bits: 32 | 64, sections = true) =>
  makeElf({
    class: bits,
    entry: MIB + 0x10,
    segments: [{ address: MIB, data: new Uint8Array(700).map((_, index) => index), memorySize: 9000 }],
    notes: [
      { owner: 'Xen', type: 18, data: u32(MIB + 0x20) },
      { owner: 'Xen', type: 5, data: text('xen-3.0\0') },
      { owner: 'Xen', type: 10, data: text('!writable_page_tables|pae_pgdir_above_4gb\0') },
    ],
    ...(sections && {
      sections: [
        { name: '.symtab', type: 2, data: new Uint8Array(24 * 5).map((_, index) => index * 3) },
        { name: '.strtab', type: 3, data: text('\0start_kernel\0panic\0schedule\0') },
        {
          name: '.rodata',
          data: Uint8Array.from([...text('IKCFG_ST'), ...gzipSync(text('CONFIG_KVM_GUEST=y\n')), ...text('IKCFG_ED')]),
        },
      ],
    }),
  });

/** A multiboot 1 header with addresses (3.1.3 of its specification), and code. */
function multiboot(): Uint8Array {
  const [magic, flags] = [0x1badb002, 0x10003];
  const header = [magic, flags, -(magic + flags) >>> 0, MIB, MIB, MIB + 256, MIB + 512, MIB + 64];
  return Uint8Array.from([...header.flatMap(value => [...u32(value)]), ...new Uint8Array(256)]);
}

const lz4Payload = (data: Uint8Array) => Uint8Array.from([...storeLz4(data), ...u32(data.length)]);
const gzipPayload = (data: Uint8Array) => Uint8Array.from([...gzipSync(data), ...u32(data.length)]);

interface Kind {
  name: string;
  originals: readonly Uint8Array[];
  read(bytes: Uint8Array): Promise<unknown> | unknown;
}

const deb = await makeDeb({
  './bin/busybox': BUSYBOX,
  './lib/modules/6.1/kernel/drivers/a.ko': makeModule('a', ['b'], ['virtio:d2']).data,
});

const KINDS: readonly Kind[] = [
  {
    name: 'kernel',
    originals: [
      vmlinux(64),
      vmlinux(32),
      vmlinux(64, false),
      multiboot(),
      makeBzImage(),
      makeBzImage({ payload: lz4Payload(vmlinux(64)) }),
      makeBzImage({ payload: gzipPayload(vmlinux(32)), entry64: false }),
      ...PACKED.map(payload => makeBzImage({ payload: Uint8Array.from([...payload, ...u32(720)]) })),
      gzipSync(vmlinux(64)),
    ],
    read: readKernel,
  },
  { name: 'packed data', originals: [...PACKED, gzipSync(new Uint8Array(5000))], read: unpack },
  {
    name: 'cpio archive',
    originals: [
      commandArchive('uname -a'),
      writeCpio([
        { name: 'dev/console', mode: 0o020600, device: [5, 1] },
        { name: 'file', mode: 0o100644, data: 'contents' },
      ]),
    ],
    read: readCpio,
  },
  { name: "Debian's package", originals: [deb], read: bytes => readDeb(bytes, () => true) },
  {
    name: 'System.map',
    originals: [text('ffffffff81000000 T _stext\nffffffff81000123 t do_one [mod]\n')],
    read: readMap,
  },
];

/** All that is done with a kernel's file before and after its guest runs. */
async function readKernel(bytes: Uint8Array): Promise<void> {
  const image = await parseKernel(bytes);
  for (const entry of BOOT_ENTRIES) load(image, entry);
  annotate('rip ffffffff81000000', kernelSymbols(image));
  if (image.elf) await embeddedConfig(image.elf.bytes);
}

/** RAM lies between two strips that must stay as they are. */
function load(image: KernelImage, entry: (typeof BOOT_ENTRIES)[number]): void {
  const STRIP = 4096;
  const buffer = new ArrayBuffer(RAM + 2 * STRIP);
  const memory = new GuestMemory(buffer, STRIP, RAM);
  const options = { initrd: text('initrd'), commandLine: 'quiet', rsdp: 0xe0000, memoryMap: pcMemoryMap(RAM) };
  refusedOrDone(() => loadKernel(memory, image, options, entry));
  for (const at of [0, STRIP + RAM])
    if (new Uint8Array(buffer, at, STRIP).some(byte => byte !== 0)) throw new Error(`${entry} wrote outside of RAM`);
}

/** With the size that the file says it has, as kernels' are unpacked, and without. */
async function unpack(bytes: Uint8Array): Promise<void> {
  for (const size of [undefined, 720])
    await decompress(bytes, size, 16 * MIB).catch((error: unknown) => {
      if (!(error instanceof ImageError)) throw error;
    });
  compressionOf(bytes);
}

function readMap(bytes: Uint8Array): void {
  const symbols = parseSystemMap(new TextDecoder().decode(bytes));
  annotate('rip ffffffff81000123', symbols);
}

function refusedOrDone(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
  }
}

export const images = caseFuzzer<{ kind: Kind; bytes: Uint8Array }>({
  name: 'images',
  description: 'kernels, packed data, archives and packages, damaged: read, or refused by an ImageError',
  make(random) {
    const kind = random.of(KINDS);
    return { kind, bytes: mutate(random, random.of(kind.originals)) };
  },
  async judge({ kind, bytes }) {
    try {
      await kind.read(bytes);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      if (error.message.includes('\n')) return `a message of more than one line: ${JSON.stringify(error.message)}`;
    }
    return undefined;
  },
  *smaller({ kind, bytes }) {
    for (const smaller of smallerBytes(bytes)) yield { kind, bytes: smaller };
  },
  show: ({ kind, bytes }) => `a ${kind.name} of ${showBytes(bytes)}`,
});
