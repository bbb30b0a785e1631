/**
 * How a CD says what to boot ("El Torito" Bootable CD-ROM Format Specification 1.0): a volume descriptor of ISO 9660 leads
 * to a catalogue, whose first entry names an image on the CD.
 */
import type { Disk } from '../../host/disk.ts';

export interface BootEntry {
  /** 0: the image is not an emulated floppy or hard disk, but code that is loaded and entered. */
  mediaType: number;
  loadSegment: number;
  /** How much of the image is to be loaded, in sectors of 512 bytes. */
  sectorCount: number;
  /** Where the image begins, in sectors of 2048 bytes. */
  block: number;
}

const BLOCK_SIZE = 2048;
/** 2.0: the boot record volume descriptor stands in block 17. */
const BOOT_RECORD_BLOCK = 17;
const STANDARD_IDENTIFIER = 'CD001';
const SYSTEM_IDENTIFIER = 'EL TORITO SPECIFICATION';
const CATALOGUE = 0x47;

/** 2.1, the validation entry: its number, the platform, the key at its end. */
const VALIDATION = 1;
const PLATFORM_X86 = 0;
const KEY = 0xaa55;
/** 2.2, the initial entry. */
const INITIAL_ENTRY = 0x20;
const BOOTABLE = 0x88;
const DEFAULT_SEGMENT = 0x7c0;

/** The entry of a CD image for a BIOS; undefined for all other disks. */
export function findBootEntry(disk: Disk): BootEntry | undefined {
  const record = readBlock(disk, BOOT_RECORD_BLOCK);
  if (record?.[0] !== 0 || !has(record, 1, STANDARD_IDENTIFIER) || !has(record, 7, SYSTEM_IDENTIFIER)) return undefined;
  const catalogue = readBlock(disk, new DataView(record.buffer).getUint32(CATALOGUE, true));
  if (!catalogue) return undefined;
  const view = new DataView(catalogue.buffer);
  if (catalogue[0] !== VALIDATION || catalogue[1] !== PLATFORM_X86 || view.getUint16(0x1e, true) !== KEY)
    return undefined;
  if (catalogue[INITIAL_ENTRY] !== BOOTABLE) return undefined;
  return {
    mediaType: catalogue[INITIAL_ENTRY + 1] & 0x0f,
    loadSegment: view.getUint16(INITIAL_ENTRY + 2, true) || DEFAULT_SEGMENT,
    sectorCount: view.getUint16(INITIAL_ENTRY + 6, true),
    block: view.getUint32(INITIAL_ENTRY + 8, true),
  };
}

function readBlock(disk: Disk, block: number): Uint8Array | undefined {
  if ((block + 1) * BLOCK_SIZE > disk.size) return undefined;
  const bytes = new Uint8Array(BLOCK_SIZE);
  disk.read(block * BLOCK_SIZE, bytes);
  return bytes;
}

/** Whether `expected` stands at `at`. */
function has(bytes: Uint8Array, at: number, expected: string): boolean {
  return [...expected].every((character, index) => bytes[at + index] === character.charCodeAt(0));
}
