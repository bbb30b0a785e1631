/**
 * The PC: which devices it carries, at which addresses, on which lines. All of that is in this file; a device knows only
 * its own offsets. `createPcBoard` solders one and describes it for the firmware tables.
 */

import { type BackEnds, NO_BACK_ENDS } from '../host/back-ends.ts';
import type { Clock } from '../host/clock.ts';
import type { Console } from '../host/console.ts';
import type { Log } from '../host/log.ts';
import type { Bus, BusHandler } from '../memory/bus.ts';
import type { GuestMemory } from '../memory/memory.ts';
import type { States } from '../state/state.ts';
import { ACPI_PM_SIZE, AcpiPm, PM_TIMER, PM1_CONTROL, PM1_EVENT, SLEEP_TYPE_S5 } from './acpi-pm.ts';
import { ApicBus } from './apic-bus.ts';
import type { TimeStampCounter } from './apic-timer.ts';
import type { ByteRegisters } from './byte-ports.ts';
import { bytePorts } from './byte-ports.ts';
import { CmosRtc, RTC_CENTURY } from './cmos-rtc.ts';
import type { BoardDescription } from './description.ts';
import type { Device, Slot } from './device.ts';
import { HPET_ID, HPET_SIZE, Hpet } from './hpet.ts';
import { I8042 } from './i8042.ts';
import { IO_APIC_PINS, IoApic } from './io-apic.ts';
import type { LocalApic } from './local-apic.ts';
import { LOCAL_APIC_BASE } from './local-apic.ts';
import { createLocalApics } from './local-apics.ts';
import { PciBus, PciFunction } from './pci.ts';
import { Pic8259 } from './pic-8259.ts';
import { Pit8254 } from './pit-8254.ts';
import { FULL_RESET, ResetControl } from './reset-control.ts';
import { Sockets } from './sockets.ts';
import { Uart16550 } from './uart-16550.ts';
import { VirtioBlk } from './virtio/virtio-blk.ts';
import { VIRTIO_PCI_WINDOW, VirtioPci } from './virtio/virtio-pci.ts';
import { LineSwitch, Wire } from './wire.ts';

/** I/O ports. */
const PIC_FIRST_PORT = 0x20;
const PIT_PORT = 0x40;
const KEYBOARD_DATA_PORT = 0x60;
const SYSTEM_PORT_B = 0x61;
const KEYBOARD_COMMAND_PORT = 0x64;
const RTC_PORT = 0x70;
const SYSTEM_PORT_A = 0x92;
const PIC_SECOND_PORT = 0xa0;
const COM1_PORT = 0x3f8;
const EDGE_LEVEL_PORT = 0x4d0;
const ACPI_PM_PORT = 0x600;
const PCI_ADDRESS_PORT = 0xcf8;
/** Shares the double word of the PCI address, which only answers as a whole. */
const RESET_PORT = 0xcf9;
const PCI_DATA_PORT = 0xcfc;

/** Memory of a display that is not there; nor is RAM. */
export const VGA_WINDOW = { start: 0xa0000, end: 0xc0000 };

/** Memory-mapped registers. */
const IO_APIC_ADDRESS = 0xfec00000;
const HPET_ADDRESS = 0xfed00000;
const REGISTER_PAGE = 0x1000;
/** Where BARs may lie; RAM ends below. */
const PCI_MEMORY = { start: 0xe0000000, end: 0xfebfffff };
const PCI_IO = [
  { start: 0x0000, end: PCI_ADDRESS_PORT - 1 },
  { start: PCI_DATA_PORT + 4, end: 0xffff },
];

/** ISA interrupt lines. */
const TIMER_IRQ = 0;
const COM1_IRQ = 4;
const RTC_IRQ = 8;
const SCI_IRQ = 9;
/** The PCI devices' pins take turns; ISA lines, so that they arrive at the 8259s too. */
const PCI_IRQS = [10, 11];
/** Since the PIT's line is wired to the I/O APIC's third input. */
const TIMER_GSI = 2;
const ISA_LINES = 16;

/** Intel's id for a virtual PCI host bridge. */
const HOST_BRIDGE = { vendor: 0x8086, device: 0x0d57, revision: 0, class: 0x060000 };
const MAX_DISKS = 31;

/**
 * Where drivers look for hardware that this board has not got: DMA controllers, POST codes and DMA pages, a coprocessor's
 * busy latch, Super I/O, IDE, floppy and parallel ports, COM2-4, ISA Plug and Play, VGA. They find an empty socket, without a word in
 * the log.
 */
const EMPTY_SOCKETS: readonly [name: string, port: number, size: number][] = [
  ['dma-1', 0x00, 0x20],
  ['super-io-1', 0x2e, 2],
  ['super-io-2', 0x4e, 2],
  ['post-code', 0x80, 0x10],
  ['dma-2', 0xc0, 0x20],
  ['coprocessor', 0xf0, 2],
  ['ide-2', 0x170, 8],
  ['ide-1', 0x1f0, 8],
  ['lpt-2', 0x278, 8],
  ['com-4', 0x2e8, 8],
  ['com-2', 0x2f8, 8],
  ['ide-2-control', 0x376, 2],
  ['lpt-1', 0x378, 8],
  ['vga', 0x3b0, 0x30],
  ['com-3', 0x3e8, 8],
  ['floppy', 0x3f0, 8],
  ['isa-pnp-write', 0xa79, 1],
  // Where a search for a read port comes by.
  ...[0x213, 0x233, 0x253, 0x273, 0x393].map((port): [string, number, number] => ['isa-pnp-read', port, 1]),
];

export interface BoardOptions {
  ports: Bus;
  mmio: Bus;
  clock: Clock;
  /** Of the whole machine. */
  states: States;
  memory: GuestMemory;
  log: Log;
  console: Console;
  tsc: TimeStampCounter;
  backEnds?: BackEnds;
  /** How many local APICs to make. */
  processors?: number;
  /** The width of physical addresses that CPUID reports. */
  physicalAddressBits?: number;
  kill(reason: string): void;
  request(what: 'power-off' | 'reset', status?: number): void;
}

export interface Board {
  /** For devices of the embedder's and of hypervisors. */
  readonly slot: Slot;
  /** One a processor, in order of their ids. */
  readonly localApics: readonly LocalApic[];
  readonly description: BoardDescription;
  readonly devices: readonly Device[];
  /** Has `device` reset with the rest. */
  add(device: Device): void;
  /** A rising edge on an interrupt line, whatever its devices do: an interrupt that comes from none of them. */
  edge(gsi: number): void;
  /** To the state in which firmware hands a PC over. */
  reset(): void;
  /** What every device does before and after the states of the machine are restored; see `Device`. */
  restoring(): void;
  restored(): void;
  /** Hands buffered console output on; the board does so by itself before a power-off or reset. */
  flush(): void;
  pressPowerButton(): void;
}

export function createPcBoard(options: BoardOptions): Board {
  const { states, clock, memory, log } = options;
  const { disks } = options.backEnds ?? NO_BACK_ENDS;
  if (memory.size > PCI_MEMORY.start) throw new Error(`RAM must end below 0x${PCI_MEMORY.start.toString(16)}`);
  if (disks.length > MAX_DISKS) throw new Error(`${disks.length} disks: there is room for ${MAX_DISKS}`);
  const devices: Device[] = [];
  function add<T extends Device>(device: T): T {
    devices.push(device);
    return device;
  }

  // ---- Interrupts: lines -> 8259s and I/O APIC -> local APICs -----------------------------------------------------------
  const pic = add(new Pic8259(states));
  const apicBus = new ApicBus();
  const ioApic = add(new IoApic(states, apicBus));
  const wires = Array.from({ length: IO_APIC_PINS }, (_, gsi) => {
    return new Wire(states, `wire/${gsi}`, high => {
      if (gsi < ISA_LINES) pic.setLine(gsi, high);
      ioApic.setLine(gsi === TIMER_IRQ ? TIMER_GSI : gsi, high);
    });
  });

  const ports = new Sockets(options.ports);
  const mmio = new Sockets(options.mmio);
  const slot: Slot = {
    ports: (name, start, size, handler) => ports.map(name, start, size, handler),
    mmio: (name, start, size, handler) => mmio.map(name, start, size, handler),
    line: gsi => wires[gsi].connect(),
    message: (address, data) => void apicBus.message(address, data),
    state: (name, version, initial) => options.states.state(name, version, initial),
    clock,
    memory,
    log,
    kill: options.kill,
    request(what, status) {
      uart.flush();
      options.request(what, status);
    },
  };

  const apics = createLocalApics({
    slot,
    bus: apicBus,
    tsc: options.tsc,
    external: pic,
    processors: options.processors ?? 1,
    physicalAddressBits: options.physicalAddressBits,
  });
  for (const apic of apics) add(apic);
  pic.onOutput = high => apics[0].setLint(0, high);

  // ---- Devices ----------------------------------------------------------------------------------------------------------
  const uart = add(new Uart16550({ states, clock, console: options.console, line: slot.line(COM1_IRQ) }));
  const pitLine = new LineSwitch(states, 'pit-line', slot.line(TIMER_IRQ));
  const rtcLine = new LineSwitch(states, 'rtc-line', slot.line(RTC_IRQ));
  const pit = add(new Pit8254(states, clock, pitLine));
  const rtc = add(new CmosRtc(states, clock, rtcLine, memory.size));
  const hpet = add(
    new Hpet(states, clock, {
      route: (gsi, high) => hpetLines[gsi].set(high),
      legacy: [slot.line(TIMER_IRQ), slot.line(RTC_IRQ)],
      onLegacy(on) {
        pitLine.connected = !on;
        rtcLine.connected = !on;
      },
    }),
  );
  const hpetLines = wires.map(wire => wire.connect());
  const pm = add(new AcpiPm(states, clock, slot.line(SCI_IRQ), () => slot.request('power-off')));
  const requestReset = () => slot.request('reset');
  const keyboard = add(new I8042(states, requestReset));
  const resetControl = add(new ResetControl(states, requestReset));

  // ---- PCI: the host bridge is device 0, disks follow -------------------------------------------------------------------
  const pci = add(new PciBus(states));
  const hostBridge = new PciFunction(slot, 'host-bridge', HOST_BRIDGE);
  hostBridge.attach();
  pci.plug(0, hostBridge);
  for (const [index, disk] of disks.entries()) {
    const block = new VirtioBlk(states, disk, memory, log, `disk-${index}`);
    const irq = pciIrq(index + 1);
    const wiring = { line: slot.line(irq), lineNumber: irq };
    const device = add(new VirtioPci(slot, block, PCI_MEMORY.start + index * VIRTIO_PCI_WINDOW, wiring));
    pci.plug(index + 1, device.function);
  }

  const chip = (name: string, port: number, size: number, registers: ByteRegisters) => {
    slot.ports(name, port, size, bytePorts(registers, size));
  };

  // ---- Where they sit ---------------------------------------------------------------------------------------------------
  chip('pic-1', PIC_FIRST_PORT, 2, pic.first);
  chip('pic-2', PIC_SECOND_PORT, 2, pic.second);
  chip('edge-level', EDGE_LEVEL_PORT, 2, pic.edgeLevel);
  chip('pit', PIT_PORT, 4, pit.ports);
  chip('system-port-b', SYSTEM_PORT_B, 1, pit.controlPort);
  chip('keyboard-data', KEYBOARD_DATA_PORT, 1, keyboard.data);
  chip('keyboard-command', KEYBOARD_COMMAND_PORT, 1, keyboard.command);
  chip('cmos-rtc', RTC_PORT, 2, rtc);
  chip('system-port-a', SYSTEM_PORT_A, 1, resetControl.systemPortA);
  chip('com-1', COM1_PORT, 8, uart);
  slot.ports('acpi-pm', ACPI_PM_PORT, ACPI_PM_SIZE, pm);
  slot.ports(
    'pci-address',
    PCI_ADDRESS_PORT,
    4,
    withByteAt(RESET_PORT - PCI_ADDRESS_PORT, resetControl.control, pci.address),
  );
  slot.ports('pci-data', PCI_DATA_PORT, 4, pci.data);
  for (const [name, port, size] of EMPTY_SOCKETS) ports.leave(name, port, size);
  mmio.leave('vga-memory', VGA_WINDOW.start, VGA_WINDOW.end - VGA_WINDOW.start);
  slot.mmio('io-apic', IO_APIC_ADDRESS, REGISTER_PAGE, ioApic);
  slot.mmio('hpet', HPET_ADDRESS, HPET_SIZE, hpet);

  const board: Board = {
    slot,
    localApics: apics,
    devices,
    add,
    edge: gsi => wires[gsi]?.edge(),
    description: {
      processors: apics.map(({ id }) => ({ uid: id, apicId: id })),
      localApicAddress: LOCAL_APIC_BASE,
      ioApics: [{ id: 0, address: IO_APIC_ADDRESS, firstGsi: 0 }],
      pic: true,
      overrides: [
        { irq: TIMER_IRQ, gsi: TIMER_GSI, level: false, activeLow: false },
        { irq: SCI_IRQ, gsi: SCI_IRQ, level: true, activeLow: false },
        // PCI's pins are active low by nature; to the I/O APIC it is all the same.
        ...PCI_IRQS.map(irq => ({ irq, gsi: irq, level: true, activeLow: true })),
      ],
      nmiPin: 1,
      hpet: { id: HPET_ID, address: HPET_ADDRESS },
      powerManagement: {
        eventBlock: ACPI_PM_PORT + PM1_EVENT,
        controlBlock: ACPI_PM_PORT + PM1_CONTROL,
        timer: ACPI_PM_PORT + PM_TIMER,
        sci: SCI_IRQ,
        sleepTypeS5: SLEEP_TYPE_S5,
      },
      reset: { port: RESET_PORT, value: FULL_RESET },
      rtc: { port: RTC_PORT, irq: RTC_IRQ, centuryRegister: RTC_CENTURY },
      serialPorts: [{ port: COM1_PORT, size: 8, irq: COM1_IRQ }],
      pci: {
        configurationPorts: { start: PCI_ADDRESS_PORT, end: PCI_DATA_PORT + 3 },
        buses: { start: 0, end: 0 },
        ioWindows: PCI_IO,
        memoryWindows: [PCI_MEMORY],
        interrupts: disks.map((_, index) => ({ device: index + 1, pin: 0, gsi: pciIrq(index + 1) })),
      },
    },
    reset() {
      for (const device of devices) device.reset();
      // Firmware's part: these are level-triggered, and the 8259s reach the bootstrap processor.
      const level = [SCI_IRQ, ...PCI_IRQS].reduce((mask, irq) => mask | (1 << irq), 0);
      pic.edgeLevel.writeByte(0, level & 0xff);
      pic.edgeLevel.writeByte(1, level >> 8);
      apics[0].setVirtualWire();
    },
    restoring() {
      for (const device of devices) device.restoring?.();
    },
    restored() {
      for (const device of devices) device.restored?.();
    },
    flush: () => uart.flush(),
    pressPowerButton: () => pm.pressPowerButton(),
  };
  board.reset();
  return board;
}

function pciIrq(device: number): number {
  return PCI_IRQS[device % PCI_IRQS.length];
}

/** `rest`, but for byte accesses at offset `at`, which are `byte`'s. */
function withByteAt(at: number, byte: ByteRegisters, rest: BusHandler): BusHandler {
  return {
    read: (offset, width, from) => (offset === at && width === 1 ? byte.readByte(0) : rest.read(offset, width, from)),
    write(offset, width, value, from) {
      if (offset === at && width === 1) byte.writeByte(0, value & 0xff);
      else rest.write(offset, width, value, from);
    },
  };
}
