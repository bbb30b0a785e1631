/**
 * The tables of the MultiProcessor Specification, version 1.4: processors, I/O APICs and where interrupts arrive, for kernels that
 * know no ACPI. They are made from what the board says of itself, as ACPI's are.
 */
import type { BoardDescription } from '../devices/description.ts';
import { ISA_LINES } from '../devices/pc-layout.ts';
import { seal, TableWriter } from './table-writer.ts';

/** Of the floating pointer, which must be at a multiple of 16 where guests look for it (4): from 0xF0000 to 1 MiB, say. */
const POINTER_SIZE = 16;
const HEADER_SIZE = 44;
const REVISION = 4;
/** Of a local APIC that is not an 82489DX, which all of ours are. */
const APIC_VERSION = 0x14;
const IO_APIC_VERSION = 0x20;
/** Processor flags (table 4-4). */
const ENABLED = 1 << 0;
const BOOTSTRAP = 1 << 1;
/** CPUID's feature flags that the table names: a processor with an FPU, machine checks, CMPXCHG8B and a local APIC (table 4-6). */
const FEATURES = (1 << 0) | (1 << 7) | (1 << 8) | (1 << 9);
/** Family 6, the newest that the specification knows. */
const SIGNATURE = 6 << 8;
/** Entry types (table 4-3). */
const PROCESSOR = 0;
const BUS = 1;
const IO_APIC = 2;
const IO_INTERRUPT = 3;
const LOCAL_INTERRUPT = 4;
/** Interrupt types (table 4-11). */
const INT = 0;
const NMI = 1;
const EXT_INT = 3;
/** Polarity and trigger: as the bus has them, or level and active low (table 4-10). */
const CONFORMS = 0;
const LEVEL_LOW = (3 << 2) | 3;
const LEVEL_HIGH = (3 << 2) | 1;
const ALL_LOCAL_APICS = 0xff;
const LINT0 = 0;
/** Where the 8259s' output arrives at the first I/O APIC: at a pin that no line of a PC is at. */
const PIC_PIN = 0;
const CASCADE = 2;

/**
 * The floating pointer with the table behind it, to be placed at `address`.
 * @returns undefined for a board whose interrupts the specification cannot describe: without an I/O APIC
 */
export function buildMpTable(board: BoardDescription, address: number): Uint8Array | undefined {
  const [ioApic] = board.ioApics;
  if (!ioApic) return undefined;
  const entries: Uint8Array[] = [];
  const add = (writer: TableWriter) => void entries.push(writer.done());
  for (const [index, { apicId }] of board.processors.entries())
    add(
      new TableWriter()
        .u8(PROCESSOR, apicId, APIC_VERSION, ENABLED | (index === 0 ? BOOTSTRAP : 0))
        .u32(SIGNATURE)
        .u32(FEATURES)
        .zeros(8),
    );
  const pciBus = 0;
  const isaBus = board.pci ? 1 : 0;
  if (board.pci) add(new TableWriter().u8(BUS, pciBus).text('PCI', 6));
  add(new TableWriter().u8(BUS, isaBus).text('ISA', 6));
  const { id } = ioApic;
  add(new TableWriter().u8(IO_APIC, id, IO_APIC_VERSION, 1).u32(ioApic.address));

  const interrupt = (type: number, flags: number, bus: number, line: number, gsi: number) =>
    add(
      new TableWriter()
        .u8(IO_INTERRUPT, type)
        .u16(flags)
        .u8(bus, line, id, gsi - ioApic.firstGsi),
    );
  if (board.pic) interrupt(EXT_INT, CONFORMS, isaBus, 0, ioApic.firstGsi + PIC_PIN);
  for (let line = 0; line < ISA_LINES; line++) {
    const override = board.overrides.find(({ irq }) => irq === line);
    const flags = !override?.level ? CONFORMS : override.activeLow ? LEVEL_LOW : LEVEL_HIGH;
    if (line !== CASCADE) interrupt(INT, flags, isaBus, line, override?.gsi ?? line);
  }
  for (const { device, pin, gsi } of board.pci?.interrupts ?? [])
    interrupt(INT, LEVEL_LOW, pciBus, (device << 2) | pin, gsi);
  const local = (type: number, pin: number) =>
    add(new TableWriter().u8(LOCAL_INTERRUPT, type).u16(CONFORMS).u8(isaBus, 0, ALL_LOCAL_APICS, pin));
  if (board.pic) local(EXT_INT, LINT0);
  local(NMI, board.nmiPin);
  return assemble(board, address, entries);
}

function assemble(board: BoardDescription, address: number, entries: readonly Uint8Array[]): Uint8Array {
  const length = HEADER_SIZE + entries.reduce((sum, { length }) => sum + length, 0);
  const header = new TableWriter()
    .text('PCMP', 4)
    .u16(length)
    .u8(REVISION, 0)
    .text('POLYVISR', 8)
    .text('PC', 12)
    .u32(0) // no table of the maker's
    .u16(0)
    .u16(entries.length)
    .u32(board.localApicAddress)
    .u32(0) // nor an extended one
    .done();
  const table = new Uint8Array(length);
  table.set(header);
  let at = HEADER_SIZE;
  for (const entry of entries) {
    table.set(entry, at);
    at += entry.length;
  }
  const pointer = new TableWriter()
    .text('_MP_', 4)
    .u32(address + POINTER_SIZE)
    .u8(1, REVISION, 0) // its length in paragraphs
    .zeros(5); // a table, and no IMCR: the 8259s reach the first processor through its LINT0
  const bytes = new Uint8Array(POINTER_SIZE + length);
  bytes.set(seal(pointer.done(), 10));
  bytes.set(seal(table, 7), POINTER_SIZE);
  return bytes;
}
