/** From a file to a kernel: what it is, what it says about itself, and the ELF file inside it, unpacked. */
import { isBzImage, readSetupHeader, type SetupHeader, unpackPayload } from './bzimage.ts';
import { type Compression, compressionOf, decompress, unsupportedCompressionOf } from './decompress.ts';
import { type Elf, EM_X86_64, ET_DYN, ET_EXEC, isElf, PT_INTERP, PT_LOAD, parseElf } from './elf.ts';
import { ImageError } from './image-error.ts';
import { findMultibootHeader, type MultibootHeader } from './multiboot.ts';
import { recognise } from './recognise.ts';
import { type XenNotes, xenNotes } from './xen-notes.ts';

export { ImageError } from './image-error.ts';

export interface KernelImage {
  /** What the file was. */
  format: 'bzImage' | 'ELF' | 'multiboot' | 'disk';
  /** For people: `Linux 6.1.0-56-cloud-amd64 (bzImage, 64-bit)`. */
  description: string;
  /** What the processor must be able to run at the kernel's ordinary entry. */
  bits: 32 | 64;
  /** The file's bytes. */
  bytes: Uint8Array;
  /** The boot protocol's header; undefined for an ELF file. */
  setup: SetupHeader | undefined;
  /** The kernel proper; undefined for a bzImage whose packing only its own code can undo. */
  elf: Elf | undefined;
  xen: XenNotes;
  /** False for what says that it is something else, though it borrows Linux's formats. */
  mayBeLinux: boolean;
  /** Undefined when the file has none. */
  multiboot?: MultibootHeader;
}

/** What stands for the kernel where a disk's boot loader brings one. */
export const DISK_IMAGE: KernelImage = {
  format: 'disk',
  description: "a disk's boot loader",
  bits: 32,
  bytes: new Uint8Array(),
  setup: undefined,
  elf: undefined,
  mayBeLinux: false,
  xen: { source: 'none', features: [] },
};

/** @throws ImageError, whatever the bytes. */
export async function parseKernel(bytes: Uint8Array): Promise<KernelImage> {
  if (isBzImage(bytes)) return parseBzImage(bytes);
  if (isElf(bytes)) return parseElfKernel(bytes);
  const multiboot = findMultibootHeader(bytes);
  if (multiboot?.addresses) return flatMultiboot(bytes, multiboot);
  const packing = compressionOf(bytes) ?? unsupportedCompressionOf(bytes);
  if (packing) return parseKernel(await unpackWhole(bytes, packing));
  throw new ImageError(`this is ${recognise(bytes)}`);
}

/** As Linux's build puts it together: the release, who compiled it, and what number of build it was. */
const LINUX_VERSION = /^\d+\.\d+\S* \(.*\) /;

async function parseBzImage(bytes: Uint8Array): Promise<KernelImage> {
  const setup = readSetupHeader(bytes);
  const payload = await unpackPayload(bytes, setup);
  const elf = payload && parseElf(payload);
  const bits = elf ? elf.class : setup.entry64 ? 64 : 32;
  const version = setup.kernelVersion.split(' ')[0];
  const mayBeLinux = elf !== undefined || setup.kernelVersion === '' || LINUX_VERSION.test(setup.kernelVersion);
  const name = mayBeLinux ? `Linux${version ? ` ${version}` : ''}` : setup.kernelVersion;
  return {
    format: 'bzImage',
    description: `${name} (bzImage, ${bits}-bit)`,
    bits,
    bytes,
    setup,
    elf,
    xen: elf ? xenNotes(elf) : { source: 'none', features: [] },
    mayBeLinux,
  };
}

function parseElfKernel(bytes: Uint8Array): KernelImage {
  const elf = parseElf(bytes);
  if (elf.type !== ET_EXEC && elf.type !== ET_DYN)
    throw new ImageError('an ELF object file or module, not a kernel; name a vmlinux or vmlinuz');
  if (elf.segments.some(({ type }) => type === PT_INTERP))
    throw new ImageError('a program for an operating system, not a kernel; name a vmlinux or vmlinuz');
  if (!elf.segments.some(({ type }) => type === PT_LOAD))
    throw new ImageError('an ELF file with nothing to load; name a vmlinux or vmlinuz');
  const xen = xenNotes(elf);
  const multiboot = findMultibootHeader(bytes);
  const bits = elf.machine === EM_X86_64 ? 64 : 32;
  return {
    format: 'ELF',
    description: `${xen.guestOs ?? 'a kernel'} (ELF, ${bits}-bit)`,
    bits,
    bytes,
    setup: undefined,
    elf,
    xen,
    mayBeLinux: xen.guestOs === undefined || xen.guestOs.toLowerCase() === 'linux',
    multiboot,
  };
}

/** A file whose multiboot header says all there is to know about it. */
function flatMultiboot(bytes: Uint8Array, multiboot: MultibootHeader): KernelImage {
  return {
    format: 'multiboot',
    description: 'a kernel (multiboot, 32-bit)',
    bits: 32,
    bytes,
    setup: undefined,
    elf: undefined,
    xen: { source: 'none', features: [] },
    mayBeLinux: true,
    multiboot,
  };
}

/** A kernel file that was packed as a whole, as vmlinux.gz: looked into once, no deeper. */
async function unpackWhole(bytes: Uint8Array, packing: string): Promise<Uint8Array> {
  const advice = 'unpack it and name the kernel (vmlinuz) itself';
  if (compressionOf(bytes) === undefined || packing === 'lz4')
    throw new ImageError(`this is ${packing} data; ${advice}`);
  const inner = await decompress(bytes);
  if (isBzImage(inner) || isElf(inner) || findMultibootHeader(inner)?.addresses) return inner;
  const nested = compressionOf(inner) as Compression | undefined;
  throw new ImageError(`this is ${packing} data that holds ${nested ? `${nested} data` : recognise(inner)}`);
}
