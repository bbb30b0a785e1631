/**
 * Xen's platform device (docs/misc/hvm-emulated-unplug.pandoc; QEMU hw/i386/xen/xen_platform.c): a PCI card that drivers know Xen by,
 * whose memory is room for the grant table, and fixed ports by which they have the PC's own devices unplugged.
 */
import type { BusHandler } from '../../memory/bus.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { PciCard } from '../../paravirt/pci-card.ts';

const IDENTITY = {
  vendor: 0x5853,
  device: 0x0001,
  revision: 1,
  class: 0xff8000,
  subsystemVendor: 0x5853,
  subsystem: 0x0001,
};
const CARD_PORTS = 0x100;
const CARD_MEMORY = 1 << 24;

/** The fixed ports, among those of a DMA controller that no PC has there. */
const XEN_IOPORT_BASE = 0x10;
const XEN_IOPORT_SIZE = 0x10;
/** Offsets: read for the magic number, written with what to unplug; the flags are a byte at the same place. */
const XEN_IOPORT_MAGIC = 0;
/** Read for the protocol's version; written with the driver's product (16 bits), or a letter for the host's log. */
const XEN_IOPORT_PROTOVER = 2;
const XEN_IOPORT_MAGIC_VAL = 0x49d2;
const PROTOCOL_VERSION = 1;
/** Of the card's own ports: the flags, and letters for the log. */
const CARD_FLAGS = 0;
const CARD_LOG = 8;
/** The one flag: ROM may not be written. Kept, and of no effect. */
const PFFLAG_ROM_LOCK = 1;

/** What to unplug. */
const UNPLUG_DISKS = 1 << 0;
const UNPLUG_NICS = 1 << 1;
/** All disks but the primary master: a PC without IDE has no such disk, so nothing is to do. */
const UNPLUG_NVME = 1 << 3;

/** PCI class codes, less the programming interface. */
const CLASS_SCSI = 0x0100;
const CLASS_IDE = 0x0101;
const CLASS_SATA = 0x0106;
const CLASS_NVME = 0x0108;
const CLASS_ETHERNET = 0x0200;

const UNPLUGGED: readonly (readonly [bit: number, classes: readonly number[]])[] = [
  [UNPLUG_DISKS, [CLASS_SCSI, CLASS_IDE, CLASS_SATA]],
  [UNPLUG_NICS, [CLASS_ETHERNET]],
  [UNPLUG_NVME, [CLASS_NVME]],
];

/** Letters of a line for the log, and lines, at most. */
const LINE_LIMIT = 256;
const MOST_LINES = 64;
const NEW_LINE = 10;

/** Claims the fixed ports. @returns the card */
export function createPlatformDevice(context: HypervisorContext): PciCard {
  const state = context.state('xen/platform', 1, () => ({ flags: 0, line: '', lines: 0 }));
  const setFlags = (value: number) => {
    state.flags = value & PFFLAG_ROM_LOCK;
  };
  const log = (letter: number) => {
    if (state.lines >= MOST_LINES) return;
    if (letter !== NEW_LINE && state.line.length < LINE_LIMIT) {
      state.line += String.fromCharCode(letter);
      return;
    }
    context.log.once(`xen-platform-${state.lines++}`, `the guest's driver of the Xen platform device: ${state.line}`);
    state.line = '';
  };

  context.ports.map('xen-platform', XEN_IOPORT_BASE, XEN_IOPORT_SIZE, {
    read(offset, width) {
      if (offset === XEN_IOPORT_MAGIC && width === 2) return XEN_IOPORT_MAGIC_VAL;
      if (offset === XEN_IOPORT_MAGIC && width === 1) return state.flags;
      if (offset === XEN_IOPORT_PROTOVER && width === 1) return PROTOCOL_VERSION;
      return 2 ** (8 * width) - 1;
    },
    write(offset, width, value) {
      if (offset === XEN_IOPORT_MAGIC && width === 2) unplug(context, value);
      else if (offset === XEN_IOPORT_MAGIC && width === 1) setFlags(value);
      else if (offset === XEN_IOPORT_PROTOVER && width === 1) log(value);
      // The driver's product and version, which nobody objects to.
    },
  });
  const handler: BusHandler = {
    read: (offset, width) => (offset === CARD_FLAGS && width === 1 ? state.flags : 2 ** (8 * width) - 1),
    write(offset, _width, value) {
      if (offset === CARD_FLAGS) setFlags(value);
      else if (offset === CARD_LOG) log(value & 0xff);
    },
  };
  return { name: 'xen-platform', identity: IDENTITY, ports: { size: CARD_PORTS, handler }, memory: CARD_MEMORY };
}

function unplug(context: HypervisorContext, wanted: number): void {
  const classes = UNPLUGGED.flatMap(([bit, codes]) => (wanted & bit ? codes : []));
  if (classes.length > 0) context.unplug(classCode => classes.includes(classCode >>> 8));
}
