/**
 * The ACPI tables (ACPI specification 6.5, chapter 5): RSDP, XSDT, FADT, FACS, MADT, HPET and a DSDT, made from what the
 * board says of itself. They come as one block, the RSDP first, so that a guest that scans low memory finds it.
 */
import type { BoardDescription } from '../devices/description.ts';
import type { Aml } from './aml.ts';
import * as aml from './aml.ts';
import { seal, TableWriter } from './table-writer.ts';

export interface AcpiTables {
  /** Where the block must be put: the address that the tables were made for, also that of the RSDP. */
  address: number;
  bytes: Uint8Array;
}

const OEM_ID = 'POLYVI';
const OEM_TABLE_ID = 'POLYVISR';
const CREATOR_ID = 'POLY';
const HEADER_SIZE = 36;
const RSDP_SIZE = 36;
/** The FACS must be aligned to 64 bytes; the others do no harm so. */
const ALIGNMENT = 64;

/** FADT flags (table 5.10). */
const WBINVD = 1 << 0;
const PROCESSORS_HAVE_C1 = 1 << 2;
const NO_FIXED_SLEEP_BUTTON = 1 << 5;
const NO_FIXED_RTC_WAKE = 1 << 6;
const TIMER_32_BITS = 1 << 8;
const RESET_REGISTER = 1 << 10;
/** None of ACPI's fixed hardware is there (4.1): a guest must not look for it. */
const HARDWARE_REDUCED = 1 << 20;
/** FADT boot architecture flags (table 5.11). */
const LEGACY_DEVICES = 1 << 0;
const KEYBOARD_CONTROLLER = 1 << 1;
const NO_VGA = 1 << 2;
const NO_RTC = 1 << 5;
/** Longer than these and a C-state counts as not supported. */
const NO_C2 = 101;
const NO_C3 = 1001;

/**
 * Makes the tables to be placed at `address`, a multiple of 64 in the first 4 GiB.
 * @param others hardware ids of devices without resources that are not the board's
 */
export function buildAcpiTables(board: BoardDescription, address: number, others: readonly string[] = []): AcpiTables {
  if (address % ALIGNMENT !== 0) throw new Error(`ACPI tables at 0x${address.toString(16)}: not a multiple of 64`);
  const blocks: { at: number; bytes: Uint8Array }[] = [];
  let next = address + ALIGNMENT; // the RSDP's place
  function place(bytes: Uint8Array): number {
    const at = next;
    blocks.push({ at, bytes });
    next = Math.ceil((at + bytes.length) / ALIGNMENT) * ALIGNMENT;
    return at;
  }
  const facs = place(buildFacs());
  const dsdt = place(table('DSDT', 2, buildDsdt(board, others)));
  const listed = [
    place(table('FACP', board.powerManagement ? 4 : 5, buildFadt(board, facs, dsdt))),
    place(table('APIC', 4, buildMadt(board))),
  ];
  if (board.hpet) listed.push(place(table('HPET', 1, buildHpet(board.hpet))));
  const xsdt = place(table('XSDT', 1, buildXsdt(listed)));
  blocks.push({ at: address, bytes: buildRsdp(xsdt) });

  const bytes = new Uint8Array(next - address);
  for (const block of blocks) bytes.set(block.bytes, block.at - address);
  return { address, bytes };
}

function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const header = new TableWriter()
    .text(signature, 4)
    .u32(HEADER_SIZE + body.length)
    .u8(revision, 0)
    .text(OEM_ID, 6)
    .text(OEM_TABLE_ID, 8)
    .u32(1)
    .text(CREATOR_ID, 4)
    .u32(1)
    .done();
  const bytes = new Uint8Array(HEADER_SIZE + body.length);
  bytes.set(header);
  bytes.set(body, HEADER_SIZE);
  return seal(bytes, 9);
}

/** 5.2.5.3. Two checksums: one over the first 20 bytes, one over all. */
function buildRsdp(xsdt: number): Uint8Array {
  const bytes = new TableWriter()
    .text('RSD PTR ', 8)
    .u8(0)
    .text(OEM_ID, 6)
    .u8(2)
    .u32(0)
    .u32(RSDP_SIZE)
    .u64(xsdt)
    .u8(0, 0, 0, 0)
    .done();
  seal(bytes, 8, 20);
  return seal(bytes, 32);
}

function buildXsdt(tables: readonly number[]): Uint8Array {
  const writer = new TableWriter();
  for (const address of tables) writer.u64(address);
  return writer.done();
}

/** 5.2.10: a signature, a length, and words that the guest may write. */
function buildFacs(): Uint8Array {
  return new TableWriter().text('FACS', 4).u32(64).zeros(24).u8(2).zeros(31).done();
}

/**
 * 5.2.9. In the layout of ACPI 4.0, which old kernels know; where there is no fixed hardware in that of ACPI 5.0, which is
 * the first that lets one say so.
 */
function buildFadt(board: BoardDescription, facs: number, dsdt: number): Uint8Array {
  const pm = board.powerManagement;
  const flags =
    WBINVD |
    PROCESSORS_HAVE_C1 |
    NO_FIXED_SLEEP_BUTTON |
    NO_FIXED_RTC_WAKE |
    TIMER_32_BITS |
    (board.reset ? RESET_REGISTER : 0) |
    (pm ? 0 : HARDWARE_REDUCED);
  const architecture =
    (board.serialPorts.length > 0 ? LEGACY_DEVICES : 0) |
    (board.keyboard ? KEYBOARD_CONTROLLER : 0) |
    NO_VGA |
    (board.rtc ? 0 : NO_RTC);
  const w = new TableWriter();
  const noPort = () => w.zeros(12);
  const port = (at: number | undefined, bits: 8 | 16 | 32) => (at === undefined ? noPort() : w.port(at, bits));

  w.u32(facs).u32(dsdt);
  w.u8(0, 0); // reserved; no preferred power profile
  w.u16(pm?.sci ?? 0);
  w.u32(0).u8(0, 0, 0, 0); // no SMI command: always in ACPI mode
  w.u32(pm?.eventBlock ?? 0).u32(0);
  w.u32(pm?.controlBlock ?? 0)
    .u32(0)
    .u32(0);
  w.u32(pm?.timer ?? 0);
  w.u32(0).u32(0); // no general-purpose events
  w.u8(pm ? 4 : 0, pm ? 2 : 0, 0, pm ? 4 : 0); // lengths of event, control, PM2 control, timer blocks
  w.u8(0, 0, 0, 0); // general-purpose events; no _CST notification
  w.u16(NO_C2).u16(NO_C3);
  w.u16(0).u16(0); // cache flush by WBINVD, not by reading
  w.u8(0, 0); // no duty cycle
  w.u8(0, 0, board.rtc?.centuryRegister ?? 0); // alarm day and month registers: none
  w.u16(architecture).u8(0);
  w.u32(flags);
  port(board.reset?.port, 8);
  w.u8(board.reset?.value ?? 0);
  w.zeros(3);
  w.u64(facs).u64(dsdt);
  port(pm?.eventBlock, 32);
  noPort();
  port(pm?.controlBlock, 16);
  noPort();
  noPort();
  port(pm?.timer, 32);
  noPort();
  noPort();
  if (!pm) w.zeros(24); // sleep control and status registers: none
  return w.done();
}

/** 5.2.12: local APICs, I/O APICs, the ISA lines that are not as ISA has them, and where NMI arrives. */
function buildMadt(board: BoardDescription): Uint8Array {
  const w = new TableWriter().u32(board.localApicAddress).u32(board.pic ? 1 : 0);
  for (const { uid, apicId } of board.processors) w.u8(0, 8, uid, apicId).u32(1);
  for (const { id, address, firstGsi } of board.ioApics) w.u8(1, 12, id, 0).u32(address).u32(firstGsi);
  for (const { irq, gsi, level, activeLow } of board.overrides) {
    w.u8(2, 10, 0, irq)
      .u32(gsi)
      .u16((activeLow ? 3 : 1) | ((level ? 3 : 1) << 2));
  }
  return w.u8(4, 6, 0xff).u16(0).u8(board.nmiPin).done();
}

/** IA-PC HPET specification 1.0a, 3.2.4. */
function buildHpet(hpet: { id: number; address: number }): Uint8Array {
  return new TableWriter().u32(hpet.id).u8(0, 64, 0, 0).u64(hpet.address).u8(0).u16(0).u8(0).done();
}

function buildDsdt(board: BoardDescription, others: readonly string[]): Aml {
  const devices: Aml[] = board.processors.map(({ uid }) =>
    aml.device(
      `C${uid.toString(16).toUpperCase().padStart(3, '0')}`,
      aml.name('_HID', aml.string('ACPI0007')),
      aml.name('_UID', aml.integer(uid)),
    ),
  );
  if (board.pci) devices.push(describePci(board.pci));
  if (board.rtc) {
    const { port, irq } = board.rtc;
    devices.push(
      aml.device(
        'RTC',
        aml.name('_HID', aml.eisaId('PNP0B00')),
        aml.name('_CRS', aml.resources(aml.io(port, 2), aml.irq(irq))),
      ),
    );
  }
  if (board.keyboard) {
    const { dataPort, commandPort, irq } = board.keyboard;
    devices.push(
      aml.device(
        'KBD',
        aml.name('_HID', aml.eisaId('PNP0303')),
        aml.name('_CRS', aml.resources(aml.io(dataPort, 1), aml.io(commandPort, 1), aml.irq(irq))),
      ),
    );
  }
  for (const [index, { port, size, irq }] of board.serialPorts.entries()) {
    devices.push(
      aml.device(
        `COM${index + 1}`,
        aml.name('_HID', aml.eisaId('PNP0501')),
        aml.name('_UID', aml.integer(index + 1)),
        aml.name('_CRS', aml.resources(aml.io(port, size), aml.irq(irq))),
      ),
    );
  }
  for (const [index, id] of others.entries())
    devices.push(aml.device(`PV${index}`, aml.name('_HID', aml.string(id)), aml.name('_CRS', aml.resources())));
  const terms = [aml.scope('\\_SB', ...devices)];
  if (board.powerManagement) {
    const type = aml.integer(board.powerManagement.sleepTypeS5);
    terms.push(aml.name('\\_S5', aml.pack(type, type, aml.integer(0), aml.integer(0))));
  }
  return aml.concatenate(terms);
}

/** The host bridge: what it passes on, and where the interrupt pins behind it arrive (6.2.13). */
function describePci(pci: NonNullable<BoardDescription['pci']>): Aml {
  const { configurationPorts: ports, buses } = pci;
  const routes = pci.interrupts.map(({ device, pin, gsi }) =>
    aml.pack(aml.integer(device * 65536 + 0xffff), aml.integer(pin), aml.integer(0), aml.integer(gsi)),
  );
  return aml.device(
    'PCI0',
    aml.name('_HID', aml.eisaId('PNP0A03')),
    aml.name('_UID', aml.integer(0)),
    aml.name(
      '_CRS',
      aml.resources(
        aml.busNumbers(buses.start, buses.end),
        aml.io(ports.start, ports.end - ports.start + 1),
        ...pci.ioWindows.map(({ start, end }) => aml.ioWindow(start, end)),
        ...pci.memoryWindows.map(({ start, end }) => aml.memoryWindow(start, end)),
      ),
    ),
    // A table of routes has one at least (ACPICA complains of others); without devices that interrupt there is none.
    ...(routes.length > 0 ? [aml.name('_PRT', aml.pack(...routes))] : []),
  );
}
