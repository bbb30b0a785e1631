/**
 * The bzImage, Linux's own kernel file for x86 (Documentation/x86/boot.rst): real-mode set-up code whose first sectors hold
 * a header of fields for the loader, then the protected-mode code, in which the kernel proper lies packed.
 */
import { compressionOf, decompress, unsupportedCompressionOf } from './decompress.ts';
import { ImageError } from './image-error.ts';

/** Offsets of header fields in the file, which are the same in boot_params. */
export const SETUP = {
  setup_sects: 0x1f1,
  syssize: 0x1f4,
  boot_flag: 0x1fe,
  jump: 0x200,
  header: 0x202,
  version: 0x206,
  kernel_version: 0x20e,
  type_of_loader: 0x210,
  loadflags: 0x211,
  code32_start: 0x214,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  heap_end_ptr: 0x224,
  cmd_line_ptr: 0x228,
  initrd_addr_max: 0x22c,
  kernel_alignment: 0x230,
  relocatable_kernel: 0x234,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  payload_offset: 0x248,
  payload_length: 0x24c,
  setup_data: 0x250,
  pref_address: 0x258,
  init_size: 0x260,
} as const;

/** "HdrS". */
export const HEADER_MAGIC = 0x53726448;
export const BOOT_FLAG = 0xaa55;
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;

export interface SetupHeader {
  /** Boot protocol, for example 0x20f for 2.15. */
  version: number;
  /** `6.1.0-56-cloud-amd64 (debian-kernel@…) #1 SMP …`; empty when the file does not say. */
  kernelVersion: string;
  /** The header's bytes as they stand in the file from 0x1f1 on: they go into boot_params as they are. */
  bytes: Uint8Array;
  /** Where the protected-mode code begins in the file. */
  codeOffset: number;
  /** It has a 64-bit entry, 0x200 bytes into the protected-mode code. */
  entry64: boolean;
  relocatable: boolean;
  /** Bytes. */
  alignment: number;
  preferredAddress: number;
  /** RAM the kernel needs from its load address on until it knows the memory map, in bytes. */
  initSize: number;
  /** The highest address the initrd's last byte may have. */
  initrdAddressMax: number;
  /** The longest command line, without its terminating NUL. */
  commandLineSize: number;
}

export function isBzImage(bytes: Uint8Array): boolean {
  if (bytes.length < 0x210) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view.getUint16(SETUP.boot_flag, true) === BOOT_FLAG && view.getUint32(SETUP.header, true) === HEADER_MAGIC;
}

/** Reads the header of what `isBzImage`. @throws ImageError when it is cut off, or of a kind nobody builds any more. */
export function readSetupHeader(bytes: Uint8Array): SetupHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint16(SETUP.version, true);
  const end = SETUP.header + bytes[0x201];
  const sectors = bytes[SETUP.setup_sects] || 4;
  const codeOffset = (sectors + 1) * 512;
  // The size is in units of 16 bytes, rounded up, and not every builder pads the file to it.
  const expected = codeOffset + view.getUint32(SETUP.syssize, true) * 16 - 15;
  if (bytes.length < codeOffset || bytes.length < end || bytes.length < expected)
    throw new ImageError(
      `a truncated bzImage: ${bytes.length} bytes of ${Math.max(codeOffset, end, expected)}; fetch the file again`,
    );
  if (version < 0x202)
    throw new ImageError(
      `a Linux kernel with boot protocol ${protocol(version)}; 2.02 (Linux 2.4) is the oldest that boots here`,
    );
  if (!(bytes[SETUP.loadflags] & LOADED_HIGH))
    throw new ImageError('a Linux zImage, which loads below 1 MiB; build a bzImage');
  // A field that the protocol's version, or a header cut short, does not have reads as what older kernels mean by silence.
  const has = (offset: number, size: number, since: number) => version >= since && offset + size <= end;
  const u32 = (offset: number, since: number, absent: number) =>
    has(offset, 4, since) ? view.getUint32(offset, true) : absent;
  return {
    version,
    kernelVersion: versionText(bytes, view.getUint16(SETUP.kernel_version, true)),
    bytes: bytes.slice(SETUP.setup_sects, end),
    codeOffset,
    entry64: has(SETUP.xloadflags, 2, 0x20c) && (view.getUint16(SETUP.xloadflags, true) & XLF_KERNEL_64) !== 0,
    relocatable: has(SETUP.relocatable_kernel, 1, 0x205) && bytes[SETUP.relocatable_kernel] !== 0,
    alignment: u32(SETUP.kernel_alignment, 0x205, 0x100000) || 0x100000,
    preferredAddress: has(SETUP.pref_address, 8, 0x20a)
      ? Number(view.getBigUint64(SETUP.pref_address, true))
      : 0x100000,
    initSize: u32(SETUP.init_size, 0x20a, 0) || (bytes.length - codeOffset) * 4,
    initrdAddressMax: u32(SETUP.initrd_addr_max, 0x203, 0x37ffffff),
    commandLineSize: u32(SETUP.cmdline_size, 0x206, 255) || 255,
  };
}

/** The kernel proper, unpacked; undefined when there is none, or it is packed in a way that only its own code can undo. */
export async function unpackPayload(
  bytes: Uint8Array,
  { version, codeOffset }: SetupHeader,
): Promise<Uint8Array | undefined> {
  if (version < 0x208) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = codeOffset + view.getUint32(SETUP.payload_offset, true);
  const length = view.getUint32(SETUP.payload_length, true);
  if (length === 0) return undefined; // Programs that only borrow Linux's boot protocol, such as memtest86+.
  if (length < 16 || start + length > bytes.length)
    throw new ImageError(
      `a damaged bzImage: its payload of ${length} bytes at ${start} lies outside the file's ${bytes.length}; fetch it again`,
    );
  const payload = bytes.subarray(start, start + length);
  const kind = compressionOf(payload);
  if (kind === undefined) {
    if (unsupportedCompressionOf(payload)) return undefined;
    throw new ImageError('a damaged bzImage: its payload is packed in no known way; fetch the file again');
  }
  // The last four bytes are the unpacked size; gzip has it there by itself, to the others the kernel's build appends it.
  const size = view.getUint32(start + length - 4, true);
  return decompress(kind === 'gzip' ? payload : payload.subarray(0, -4), size);
}

/** `kernel_version` counts from 0x200 on (boot.rst). */
function versionText(bytes: Uint8Array, pointer: number): string {
  if (pointer === 0 || pointer + 0x200 >= bytes.length) return '';
  const text = new TextDecoder('latin1').decode(bytes.subarray(pointer + 0x200, pointer + 0x300)).replace(/\0.*$/s, '');
  return /^[\x20-\x7e]+$/.test(text) ? text : '';
}

function protocol(version: number): string {
  return `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
}
