/**
 * The drives that a BIOS numbers: floppies from 00h on, hard disks from 80h on, CDs from E0h on. What a disk image is, its
 * size and its first sectors tell.
 */
import type { Disk } from '../../host/disk.ts';
import { type BootEntry, findBootEntry } from './el-torito.ts';

export interface Geometry {
  cylinders: number;
  heads: number;
  /** Sectors a track, numbered from 1 on. */
  sectors: number;
}

export interface Drive {
  /** DL of INT 13h. */
  readonly number: number;
  readonly kind: 'floppy' | 'disk' | 'cd';
  readonly disk: Disk;
  readonly sectorSize: number;
  /** How many sectors it has. */
  readonly sectors: number;
  readonly geometry: Geometry;
  /** A CD's, by which it is booted. */
  readonly bootEntry?: BootEntry;
}

export const FIRST_FLOPPY = 0x00;
export const FIRST_DISK = 0x80;
export const FIRST_CD = 0xe0;

export const SECTOR_SIZE = 512;
export const CD_SECTOR_SIZE = 2048;

/** Floppies by their size in KiB: their tracks, and the type that INT 13h, AH=08h has in BL. */
const FLOPPIES: Readonly<Record<number, Geometry & { type: number }>> = {
  160: { cylinders: 40, heads: 1, sectors: 8, type: 1 },
  180: { cylinders: 40, heads: 1, sectors: 9, type: 1 },
  320: { cylinders: 40, heads: 2, sectors: 8, type: 1 },
  360: { cylinders: 40, heads: 2, sectors: 9, type: 1 },
  720: { cylinders: 80, heads: 2, sectors: 9, type: 3 },
  1200: { cylinders: 80, heads: 2, sectors: 15, type: 2 },
  1440: { cylinders: 80, heads: 2, sectors: 18, type: 4 },
  2880: { cylinders: 80, heads: 2, sectors: 36, type: 5 },
};

/** BL of INT 13h, AH=08h. */
export function floppyType({ disk }: Drive): number {
  return FLOPPIES[disk.size / 1024].type;
}

/** The most that cylinder, head and sector can name: ten bits, eight bits (of which DOS takes 255 values), six bits. */
const MOST_CYLINDERS = 1024;
const MOST_HEADS = 255;
const TRACK = 63;

/** As firmware translates: as few heads as it takes to name the whole disk. */
function diskGeometry(sectors: number): Geometry {
  const heads = [16, 32, 64, 128].find(count => sectors <= MOST_CYLINDERS * count * TRACK) ?? MOST_HEADS;
  const cylinders = Math.min(MOST_CYLINDERS, Math.max(1, Math.floor(sectors / (heads * TRACK))));
  return { cylinders, heads, sectors: TRACK };
}

/** The drives of a machine with these disks, in their order. */
export function drivesOf(disks: readonly Disk[]): Drive[] {
  const next = { floppy: FIRST_FLOPPY, disk: FIRST_DISK, cd: FIRST_CD };
  return disks.map(disk => {
    const bootEntry = findBootEntry(disk);
    const floppy = FLOPPIES[disk.size / 1024];
    const kind = bootEntry ? 'cd' : floppy ? 'floppy' : 'disk';
    const sectorSize = kind === 'cd' ? CD_SECTOR_SIZE : SECTOR_SIZE;
    const sectors = Math.floor(disk.size / sectorSize);
    const geometry = floppy && kind === 'floppy' ? floppy : diskGeometry(sectors);
    return { number: next[kind]++, kind, disk, sectorSize, sectors, geometry, ...(bootEntry && { bootEntry }) };
  });
}
