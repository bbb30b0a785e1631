/**
 * What a BIOS leaves in memory: interrupt vectors, its data areas, and a ROM that is nothing but traps. Every vector has
 * one, which hands its number to the machine (bios.ts) through a port, the one by which PCs call their system management
 * mode, and returns. Written whoever boots the kernel, since some look into these areas by whatever entry they came.
 */
import type { GuestMemory } from '../../memory/memory.ts';
import { EBDA } from '../e820.ts';
import { BOOT_SECTOR } from './boot-sector.ts';
import type { Drive } from './drives.ts';

/** The port a trap writes to: 82371SB's APM control port. */
export const TRAP_PORT = 0xb2;
/** The ROM's segment, whose end is that of the first MiB. */
export const ROM_SEGMENT = 0xf000;
/** Where the traps stand in it, one for each vector. */
const TRAPS = 0xe000;
/** The diskette parameter table, to which vector 1Eh points, and the code behind a reset. */
export const DISKETTE_PARAMETERS = 0xdff0;
const RESTART = 0xdfe0;
const TRAP_SIZE = 16;
/** Where the processor starts after a reset. */
const RESET = 0xfff0;
/** The date of the BIOS and the model of the PC, an AT. */
const DATE = 0xfff5;
const MODEL = 0xfffe;
const MODEL_AT = 0xfc;
const IRET = 0xcf;

/** IRQ 0, the timer, and what its handler calls; the system is to boot; a table. */
export const TIMER = 0x08;
const USER_TIMER = 0x1c;
const BOOTSTRAP = 0x19;
const DISKETTE_TABLE = 0x1e;
/** Of 1.44 MB: step rate, head times, motor time, 512 bytes, 18 sectors, gaps, filler, settle and start times. */
const DISKETTE = [0xaf, 0x02, 0x25, 0x02, 0x12, 0x1b, 0xff, 0x6c, 0xf6, 0x0f, 0x08];

/** Addresses in the BIOS data area (IBM PC/AT Technical Reference, "BIOS data area"). */
export const BDA = {
  serialPorts: 0x400,
  /** Segment of the extended data area. */
  ebdaSegment: 0x40e,
  /** What INT 11h answers. */
  equipment: 0x410,
  /** RAM below the extended data area, in KiB: what INT 12h answers. */
  baseMemory: 0x413,
  floppyStatus: 0x441,
  videoMode: 0x449,
  columns: 0x44a,
  /** Of page 0: its column, then its row. */
  cursor: 0x450,
  /** Ticks of the timer since midnight, and whether a midnight has passed. */
  ticks: 0x46c,
  midnight: 0x470,
  diskStatus: 0x474,
  /** How many hard disks there are. */
  disks: 0x475,
  lastRow: 0x484,
  characterHeight: 0x485,
} as const;

/** A coprocessor, an 80x25 display; the number of serial ports; floppies, whose number less one is in bits 6 and 7. */
const EQUIPMENT = 0x0022;
const SERIAL_COUNT_SHIFT = 9;
const HAS_FLOPPIES = 1 << 0;
const FLOPPY_COUNT_SHIFT = 6;
const MOST_FLOPPIES = 4;
const COM1 = 0x3f8;

/** Colour text of 80x25, the mode a PC starts in. */
export const VIDEO_MODE = 3;
export const COLUMNS = 80;
export const ROWS = 25;
/** Light grey on black. */
export const NORMAL = 0x07;
/** The memory of such a display: a character and its attribute for each place. */
export const TEXT_MEMORY = 0xb8000;
const BLANK = (NORMAL << 8) | 0x20;
const CHARACTER_HEIGHT = 16;

/**
 * A machine too small to have the areas goes without.
 * @param serialPorts where each begins, four at most
 */
export function writeBiosImage(
  memory: GuestMemory,
  drives: readonly Drive[] = [],
  serialPorts: readonly number[] = [COM1],
): void {
  const rom = ROM_SEGMENT << 4;
  if (!memory.has(rom, 0x10000)) return;
  for (let vector = 0; vector < 256; vector++) {
    const offset = TRAPS + vector * TRAP_SIZE;
    memory.write32(4 * vector, ROM_SEGMENT * 0x10000 + offset);
    memory.copyIn(rom + offset, trap(vector));
  }
  memory.write32(4 * DISKETTE_TABLE, ROM_SEGMENT * 0x10000 + DISKETTE_PARAMETERS);
  memory.copyIn(rom + DISKETTE_PARAMETERS, Uint8Array.from(DISKETTE));
  memory.copyIn(rom + RESTART, restart());
  // jmp far ROM_SEGMENT:RESTART
  memory.copyIn(rom + RESET, Uint8Array.of(0xea, ...word(RESTART), ...word(ROM_SEGMENT)));
  memory.copyIn(rom + DATE, new TextEncoder().encode('01/01/99'));
  memory.write8(rom + MODEL, MODEL_AT);

  for (const [index, port] of serialPorts.entries()) memory.write16(BDA.serialPorts + 2 * index, port);
  memory.write16(BDA.ebdaSegment, EBDA >> 4);
  memory.write16(BDA.equipment, EQUIPMENT | (serialPorts.length << SERIAL_COUNT_SHIFT) | floppyBits(drives));
  memory.write8(BDA.disks, drives.filter(({ kind }) => kind === 'disk').length);
  memory.write16(BDA.baseMemory, EBDA >> 10);
  memory.write8(BDA.videoMode, VIDEO_MODE);
  memory.write16(BDA.columns, COLUMNS);
  for (let place = 0; place < ROWS * COLUMNS; place++) memory.write16(TEXT_MEMORY + 2 * place, BLANK);
  memory.write8(BDA.lastRow, ROWS - 1);
  memory.write8(BDA.characterHeight, CHARACTER_HEIGHT);
  memory.write8(EBDA, 1); // Its own size in KiB.
}

/**
 * The code behind a vector. The machine finds the vector on top of the stack, with the caller's IP, CS and FLAGS behind it;
 * it sets carry while the service is not over yet, and is then asked again.
 */
function trap(vector: number): Uint8Array {
  if (vector === USER_TIMER) return Uint8Array.of(IRET);
  return Uint8Array.of(
    ...[0x68, ...word(vector)], //       push vector
    ...[0xe6, TRAP_PORT], //      again: out TRAP_PORT, al
    ...[0x72, 0xfc], //                  jc again
    ...[0x83, 0xc4, 0x02], //            add sp, 2
    ...(vector === TIMER ? [0xcd, USER_TIMER] : []), // int USER_TIMER
    IRET,
  );
}

/** Boots: the bootstrap returns to what it has loaded. */
function restart(): Uint8Array {
  return Uint8Array.of(
    ...[0x31, 0xc0], //                  xor ax, ax
    ...[0x8e, 0xd0], //                  mov ss, ax
    ...[0xbc, ...word(BOOT_SECTOR)], //  mov sp, BOOT_SECTOR
    ...[0xcd, BOOTSTRAP], //             int BOOTSTRAP
    0xf4, //                             hlt
  );
}

function floppyBits(drives: readonly Drive[]): number {
  const count = Math.min(MOST_FLOPPIES, drives.filter(({ kind }) => kind === 'floppy').length);
  return count === 0 ? 0 : HAS_FLOPPIES | ((count - 1) << FLOPPY_COUNT_SHIFT);
}

function word(value: number): [number, number] {
  return [value & 0xff, value >> 8];
}
