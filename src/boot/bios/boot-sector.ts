/** INT 19h: which drive is booted, and what of it is put where before it is entered. */
import type { Disk } from '../../host/disk.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import { EBDA } from '../e820.ts';
import { CD_SECTOR_SIZE, type Drive, drivesOf, SECTOR_SIZE } from './drives.ts';
import type { BootEntry } from './el-torito.ts';

/** Where a boot sector is loaded and entered. */
export const BOOT_SECTOR = 0x7c00;
const SIGNATURE = 0x1fe;
/** A master boot record's code ends here, where the disk's identifier and the partitions begin. */
const CODE_SIZE = 0x1b8;
/** The least load address of a CD's image: behind the vectors and the BIOS's data. */
const LOWEST = 0x600;

export interface BootCode {
  /** The drive it came from, for DL. */
  drive: number;
  /** Where it is entered. */
  cs: number;
  ip: number;
}

/** Whether a BIOS finds code to boot on the disk: a boot sector, or a CD's image. */
export function isBootable(disk: Disk): boolean {
  const [drive] = drivesOf([disk]);
  return codeOf(drive) !== undefined;
}

/** Loads the code of the first drive that has some. @returns undefined if none has */
export function loadBootCode(memory: GuestMemory, drives: readonly Drive[]): BootCode | undefined {
  for (const drive of drives) {
    const code = codeOf(drive);
    if (!code) continue;
    const address = code.segment * 16 + code.offset;
    memory.copyIn(address, code.bytes);
    return { drive: drive.number, cs: code.segment, ip: code.offset };
  }
  return undefined;
}

interface Code {
  bytes: Uint8Array;
  segment: number;
  offset: number;
}

function codeOf({ disk, bootEntry }: Drive): Code | undefined {
  if (bootEntry) return codeOfCd(disk, bootEntry);
  if (disk.size < SECTOR_SIZE) return undefined;
  const bytes = new Uint8Array(SECTOR_SIZE);
  disk.read(0, bytes);
  // A disk may be partitioned, and signed as such, without any code.
  if (bytes[SIGNATURE] !== 0x55 || bytes[SIGNATURE + 1] !== 0xaa) return undefined;
  if (bytes.subarray(0, CODE_SIZE).every(byte => byte === 0)) return undefined;
  return { bytes, segment: 0, offset: BOOT_SECTOR };
}

/** An image that wants to be an emulated floppy or disk is not booted. */
function codeOfCd(disk: Disk, { mediaType, loadSegment, sectorCount, block }: BootEntry): Code | undefined {
  const [start, length] = [block * CD_SECTOR_SIZE, Math.max(1, sectorCount) * SECTOR_SIZE];
  const address = loadSegment * 16;
  if (mediaType !== 0 || start + length > disk.size || address < LOWEST || address + length > EBDA) return undefined;
  const bytes = new Uint8Array(length);
  disk.read(start, bytes);
  // Loaders are linked for offset 7C00h of segment 0, which is the same place as the segment that they are loaded to.
  return address === BOOT_SECTOR
    ? { bytes, segment: 0, offset: BOOT_SECTOR }
    : { bytes, segment: loadSegment, offset: 0 };
}
