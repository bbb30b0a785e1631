/**
 * The memory map of a PC as its firmware would report it (ACPI 6.5, section 15, "System Address Map Interfaces"; on real
 * machines through INT 15h, AX=E820h).
 */

/** ACPI 6.5, table 15.2. */
export const E820_RAM = 1;
export const E820_RESERVED = 2;
export const E820_ACPI = 3;
export const E820_NVS = 4;

export interface MemoryRange {
  /** Guest-physical, in bytes. */
  address: number;
  size: number;
  type: number;
}

/** The extended BIOS data area begins here: RAM that a PC's firmware keeps for itself, up to 640 KiB. */
export const EBDA = 0x9fc00;
const VIDEO_MEMORY = 0xa0000;
/** Firmware, and our ACPI tables. */
const FIRMWARE = 0xe0000;
const HIGH_MEMORY = 0x100000;
/** From here to 4 GiB stand devices: PCI windows, I/O APIC, HPET, local APIC. */
export const DEVICE_HOLE = 0xc0000000;

/**
 * The map of a PC with `ramSize` bytes. Guest RAM is one piece from address 0 (memory.ts), so what would lie in the devices'
 * hole is not offered.
 */
export function pcMemoryMap(ramSize: number): MemoryRange[] {
  const ranges: MemoryRange[] = [
    { address: 0, size: Math.min(ramSize, EBDA), type: E820_RAM },
    { address: EBDA, size: VIDEO_MEMORY - EBDA, type: E820_RESERVED },
    { address: FIRMWARE, size: HIGH_MEMORY - FIRMWARE, type: E820_RESERVED },
    { address: HIGH_MEMORY, size: Math.min(ramSize, DEVICE_HOLE) - HIGH_MEMORY, type: E820_RAM },
  ];
  return ranges.filter(({ size }) => size > 0);
}

/** The first address behind the RAM range that holds `address`; 0 when none does. */
export function ramEnd(map: readonly MemoryRange[], address: number): number {
  const range = map.find(
    ({ type, address: start, size }) => type === E820_RAM && start <= address && address < start + size,
  );
  return range ? range.address + range.size : 0;
}
