/**
 * Where everything is on the PC: I/O ports, addresses in memory, interrupt lines. The firmware tables
 * (pc-description.ts) say the same to the guest, from the same constants.
 */

/** I/O ports. */
export const PIC_FIRST_PORT = 0x20;
export const PIT_PORT = 0x40;
export const KEYBOARD_DATA_PORT = 0x60;
export const SYSTEM_PORT_B = 0x61;
export const KEYBOARD_COMMAND_PORT = 0x64;
export const RTC_PORT = 0x70;
export const SYSTEM_PORT_A = 0x92;
export const PIC_SECOND_PORT = 0xa0;
export const COPROCESSOR_PORT = 0xf0;
export const COM1_PORT = 0x3f8;
export const COM2_PORT = 0x2f8;
export const EDGE_LEVEL_PORT = 0x4d0;
export const ACPI_PM_PORT = 0x600;
export const PCI_ADDRESS_PORT = 0xcf8;
/** Shares the double word of the PCI address, which only answers as a whole. */
export const RESET_PORT = 0xcf9;
export const PCI_DATA_PORT = 0xcfc;

/** Where a display's memory would be. The board has no display, and there is no RAM here either. */
export const VGA_WINDOW = { start: 0xa0000, end: 0xc0000 };

/** Memory-mapped registers. */
export const IO_APIC_ADDRESS = 0xfec00000;
export const HPET_ADDRESS = 0xfed00000;
export const REGISTER_PAGE = 0x1000;
/** Where BARs may lie; RAM ends below. */
export const PCI_MEMORY = { start: 0xe0000000, end: 0xfebfffff };
/** How much of that each PCI device has: all its BARs, each aligned to its size. */
export const PCI_WINDOW = 0x40000;
/** The same for ports, from `PCI_PORTS` on. */
export const PCI_PORTS = 0xc000;
export const PCI_PORTS_WINDOW = 0x40;
/** The same for the cards of hypervisors, behind the others. */
export const CARD_MEMORY = 0xe1000000;
export const CARD_MEMORY_WINDOW = 0x1000000;
export const CARD_PORTS = 0xd000;
export const CARD_PORTS_WINDOW = 0x100;
export const PCI_IO = [
  { start: 0x0000, end: PCI_ADDRESS_PORT - 1 },
  { start: PCI_DATA_PORT + 4, end: 0xffff },
];

/** ISA interrupt lines. */
export const TIMER_IRQ = 0;
export const KEYBOARD_IRQ = 1;
export const COM2_IRQ = 3;
export const COM1_IRQ = 4;
export const RTC_IRQ = 8;
export const SCI_IRQ = 9;
export const COPROCESSOR_IRQ = 13;
/** The PCI devices' pins take turns; ISA lines, so that they arrive at the 8259s too. */
const PCI_IRQS = [10, 11];
/** The PIT's line is wired to the I/O APIC's third input. */
export const TIMER_GSI = 2;
export const ISA_LINES = 16;

/** Intel's id for a virtual PCI host bridge. */
export const HOST_BRIDGE = { vendor: 0x8086, device: 0x0d57, revision: 0, class: 0x060000 };
/** Devices on the PCI bus behind the host bridge: disks, shared folders, network cards. */
export const MAX_DISKS = 31;

/**
 * Where drivers look for hardware that this board does not have: DMA controllers, POST codes and DMA pages, Super I/O, IDE, floppy and parallel ports, COM3 and COM4, ISA Plug and Play, VGA; and COM2, which not
 * every board has. They find empty sockets, and the log says nothing of it.
 */
export const EMPTY_SOCKETS: readonly [name: string, port: number, size: number][] = [
  ['dma-1', 0x00, 0x10],
  ['dma-1-again', 0x10, 0x10],
  ['super-io-1', 0x2e, 2],
  ['super-io-2', 0x4e, 2],
  ['post-code', 0x80, 0x10],
  ['dma-2', 0xc0, 0x20],
  ['ide-2', 0x170, 8],
  ['ide-1', 0x1f0, 8],
  ['lpt-2', 0x278, 8],
  ['com-4', 0x2e8, 8],
  ['com-2', COM2_PORT, 8],
  ['ide-2-control', 0x376, 2],
  ['lpt-1', 0x378, 8],
  ['vga', 0x3b0, 0x30],
  ['com-3', 0x3e8, 8],
  ['floppy', 0x3f0, 8],
  ['isa-pnp-write', 0xa79, 1],
  // A driver that searches for a read port tries these.
  ...[0x213, 0x233, 0x253, 0x273, 0x393].map((port): [string, number, number] => ['isa-pnp-read', port, 1]),
];

/** Lines with level-triggered interrupts. */
export const LEVEL_IRQS = [SCI_IRQ, ...PCI_IRQS];

/** The line of a PCI device's pin. */
export function pciIrq(device: number): number {
  return PCI_IRQS[device % PCI_IRQS.length];
}

/** The MAC address of a network card: its network's, or one that is locally administered. */
export function macAddress(index: number, given?: Uint8Array): Uint8Array {
  return given ?? Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56 + index);
}
