/**
 * The PC: which devices it carries, and what is wired to what. Where they sit is in pc-layout.ts; a device knows only
 * its own offsets.
 */

import { type BackEnds, NO_BACK_ENDS, onBus } from '../host/back-ends.ts';
import type { Clock } from '../host/clock.ts';
import type { Console } from '../host/console.ts';
import type { Log } from '../host/log.ts';
import type { Bus, BusHandler } from '../memory/bus.ts';
import type { GuestMemory } from '../memory/memory.ts';
import type { PciCard } from '../paravirt/pci-card.ts';
import type { States } from '../state/state.ts';
import { ACPI_PM_SIZE, AcpiPm, PM_TIMER } from './acpi-pm.ts';
import { ApicBus } from './apic-bus.ts';
import type { TimeStampCounter } from './apic-timer.ts';
import type { ByteRegisters } from './byte-ports.ts';
import { bytePorts } from './byte-ports.ts';
import { CmosRtc } from './cmos-rtc.ts';
import { CoprocessorError } from './coprocessor-error.ts';
import type { BoardDescription } from './description.ts';
import type { Device, Slot } from './device.ts';
import { HPET_SIZE, Hpet, type HpetWiring } from './hpet.ts';
import { HypervisorCard } from './hypervisor-card.ts';
import { I8042 } from './i8042.ts';
import { IO_APIC_PINS, IoApic } from './io-apic.ts';
import type { LocalApic } from './local-apic.ts';
import { createLocalApics, NO_INTERRUPTS } from './local-apics.ts';
import { describePc } from './pc-description.ts';
import * as at from './pc-layout.ts';
import { PciBus, PciFunction } from './pci.ts';
import { PCI_DISKS, type PciDevice, virtioAt } from './pci-disks.ts';
import { PCI_NETWORKS, PCI_VSOCK } from './pci-networks.ts';
import { PCI_SERVICES } from './pci-services.ts';
import { Pic8259 } from './pic-8259.ts';
import { Pit8254 } from './pit-8254.ts';
import { ResetControl } from './reset-control.ts';
import { Sockets } from './sockets.ts';
import { Uart16550 } from './uart-16550.ts';
import { Virtio9p } from './virtio/virtio-9p.ts';
import { VirtioVsock } from './virtio/virtio-vsock.ts';
import { LineSwitch, Wire } from './wire.ts';

/** The second serial port's name, which its states begin with: a snapshot that has them is of a board that has it. */
export const COM2 = 'uart-16550-2';

export interface BoardOptions {
  ports: Bus;
  mmio: Bus;
  clock: Clock;
  /** Of the whole machine. */
  states: States;
  memory: GuestMemory;
  log: Log;
  console: Console;
  /** 64 random bits a call. Default: a board without a source of entropy. */
  random?: (() => bigint) | undefined;
  /** One for each processor. As many local APICs are made. */
  tscs: readonly TimeStampCounter[];
  /** Of the processors, in their order. Default: 0, 1, 2 … */
  apicIds?: readonly number[];
  /** All of the machine's: those that name no bus of the board's are not the board's to serve. */
  backEnds?: BackEnds;
  /** The bus of disks that name none. Default: the first of PCI_DISKS. */
  diskBus?: string | undefined;
  /** The bus of a vsock that names none. Default: PCI_VSOCK. */
  vsockBus?: string | undefined;
  /** The same for networks, of PCI_NETWORKS. */
  networkBus?: string | undefined;
  /** Cards of the hypervisor's, behind the board's own. */
  cards?: readonly PciCard[] | undefined;
  /** A part of a PC: without 8259s, 8254, HPET, CMOS, keyboard controller, and of ACPI the timer alone. */
  isPartition?: boolean;
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
  /** FERR# of the bootstrap processor, where the board has it: see `CoprocessorError`. */
  readonly coprocessorError?: ((waits: boolean) => 'interrupt' | 'ignore') | undefined;
  /** A rising edge on an interrupt line, whatever its devices do: an interrupt that comes from none of them. */
  edge(gsi: number): void;
  /** Takes devices with such class codes (24 bits) off the PCI bus, until the board's reset. */
  unplug(matches: (classCode: number) => boolean): void;
  /** To the state in which firmware hands a PC over. */
  reset(): void;
  /** What every device does before and after the states of the machine are restored; see `Device`. */
  restoring(): void;
  restored(): void;
  /** Hands buffered console output on; the board does so by itself before a power-off or reset. */
  flush(): void;
  pressPowerButton(): void;
  /** Asks the guest to make do with so many bytes of RAM, where a device can. */
  requestMemory(bytes: number): void;
}

export function createPcBoard(options: BoardOptions): Board {
  const { states, clock, memory, isPartition = false } = options;
  const plugged = pciDevices(options);
  if (memory.size > at.PCI_MEMORY.start) throw new Error(`RAM must end below 0x${at.PCI_MEMORY.start.toString(16)}`);
  if (plugged.length > at.MAX_DISKS)
    throw new Error(`${plugged.length} disks, folders and networks: there is room for ${at.MAX_DISKS}`);
  const devices: Device[] = [];
  function add<T extends Device>(device: T): T {
    devices.push(device);
    return device;
  }

  // ---- Interrupts: lines -> 8259s and I/O APIC -> local APICs ----------------------------------
  const pic = add(new Pic8259(states));
  const apicBus = new ApicBus();
  const ioApic = add(new IoApic(states, apicBus));
  const wires = Array.from({ length: IO_APIC_PINS }, (_, gsi) => {
    return new Wire(states, `wire/${gsi}`, high => {
      if (gsi < at.ISA_LINES) pic.setLine(gsi, high);
      ioApic.setLine(gsi === at.TIMER_IRQ ? at.TIMER_GSI : gsi, high);
    });
  });
  const ports = new Sockets(options.ports);
  const mmio = new Sockets(options.mmio);
  const flush = () => {
    uart.flush();
    com2?.flush();
  };
  const slot = createSlot(options, { ports, mmio, wires, apicBus, flush });
  const apics = createLocalApics({
    slot,
    bus: apicBus,
    tscs: options.tscs,
    apicIds: options.apicIds,
    external: isPartition ? NO_INTERRUPTS : pic,
    physicalAddressBits: options.physicalAddressBits,
  });
  for (const apic of apics) add(apic);
  if (!isPartition) pic.onOutput = high => apics[0].setLint(0, high);

  // ---- Devices ---------------------------------------------------------------------------------
  const uart = add(new Uart16550({ states, clock, console: options.console, line: slot.line(at.COM1_IRQ) }));
  const { serial } = options.backEnds ?? NO_BACK_ENDS;
  const com2 =
    serial && add(new Uart16550({ name: COM2, states, clock, console: serial, line: slot.line(at.COM2_IRQ) }));
  const pitLine = new LineSwitch(states, 'pit-line', slot.line(at.TIMER_IRQ));
  const rtcLine = new LineSwitch(states, 'rtc-line', slot.line(at.RTC_IRQ));
  const pit = add(new Pit8254(states, clock, pitLine));
  const rtc = add(new CmosRtc(states, clock, rtcLine, memory.size));
  const legacy: HpetWiring['legacy'] = [slot.line(at.TIMER_IRQ), slot.line(at.RTC_IRQ)];
  const hpetLines = wires.map(wire => wire.connect());
  const hpet = add(
    new Hpet(states, clock, {
      route: (gsi, high) => hpetLines[gsi].set(high),
      legacy,
      onLegacy(on) {
        pitLine.connected = !on;
        rtcLine.connected = !on;
      },
    }),
  );
  const pm = add(new AcpiPm(states, clock, slot.line(at.SCI_IRQ), () => slot.request('power-off')));
  const requestReset = () => slot.request('reset');
  const keyboard = add(new I8042(states, slot.line(at.KEYBOARD_IRQ), requestReset));
  const resetControl = add(new ResetControl(states, requestReset));
  const coprocessor = add(new CoprocessorError(states, slot.line(at.COPROCESSOR_IRQ)));
  const pci = createPci(slot, plugged, add);

  // ---- Where they sit --------------------------------------------------------------------------
  const chip = (name: string, port: number, size: number, registers: ByteRegisters) => {
    slot.ports(name, port, size, bytePorts(registers, size));
  };
  chip('com-1', at.COM1_PORT, 8, uart);
  if (com2) chip('com-2', at.COM2_PORT, 8, com2);
  slot.ports('pci-data', at.PCI_DATA_PORT, 4, pci.data);
  slot.mmio('io-apic', at.IO_APIC_ADDRESS, at.REGISTER_PAGE, ioApic);
  if (isPartition) {
    slot.ports('pm-timer', at.ACPI_PM_PORT + PM_TIMER, ACPI_PM_SIZE - PM_TIMER, from(PM_TIMER, pm));
    slot.ports('pci-address', at.PCI_ADDRESS_PORT, 4, pci.address);
  } else {
    chip('pic-1', at.PIC_FIRST_PORT, 2, pic.first);
    chip('pic-2', at.PIC_SECOND_PORT, 2, pic.second);
    chip('edge-level', at.EDGE_LEVEL_PORT, 2, pic.edgeLevel);
    chip('pit', at.PIT_PORT, 4, pit.ports);
    chip('system-port-b', at.SYSTEM_PORT_B, 1, pit.controlPort);
    chip('keyboard-data', at.KEYBOARD_DATA_PORT, 1, keyboard.data);
    chip('keyboard-command', at.KEYBOARD_COMMAND_PORT, 1, keyboard.command);
    chip('cmos-rtc', at.RTC_PORT, 2, rtc);
    chip('system-port-a', at.SYSTEM_PORT_A, 1, resetControl.systemPortA);
    chip('coprocessor-error', at.COPROCESSOR_PORT, 2, coprocessor);
    slot.ports('acpi-pm', at.ACPI_PM_PORT, ACPI_PM_SIZE, pm);
    const address = withByteAt(at.RESET_PORT - at.PCI_ADDRESS_PORT, resetControl.control, pci.address);
    slot.ports('pci-address', at.PCI_ADDRESS_PORT, 4, address);
    slot.mmio('hpet', at.HPET_ADDRESS, HPET_SIZE, hpet);
  }
  for (const [name, port, size] of at.EMPTY_SOCKETS) ports.leave(name, port, size);
  mmio.leave('vga-memory', at.VGA_WINDOW.start, at.VGA_WINDOW.end - at.VGA_WINDOW.start);

  const board: Board = {
    slot,
    localApics: apics,
    devices,
    add,
    edge: gsi => wires[gsi]?.edge(),
    unplug: matches => pci.unplug(matches),
    coprocessorError: isPartition ? undefined : waits => coprocessor.report(waits),
    description: describePc(
      apics.map(({ id }) => id),
      plugged.map((_, index) => index + 1),
      com2 !== undefined,
    ),
    reset() {
      for (const device of devices) device.reset();
      if (isPartition) return;
      // Firmware's part: these are level-triggered, and the 8259s reach the bootstrap processor.
      const level = at.LEVEL_IRQS.reduce((mask, irq) => mask | (1 << irq), 0);
      pic.edgeLevel.writeByte(0, level & 0xff);
      pic.edgeLevel.writeByte(1, level >> 8);
      apics[0].setVirtualWire();
    },
    ...restoring(devices),
    flush,
    pressPowerButton: () => pm.pressPowerButton(),
    requestMemory: bytes => void devices.some(device => device.requestMemory?.(bytes)),
  };
  board.reset();
  return board;
}

/** What every device of a board does before and after a restore. */
export function restoring(devices: readonly Device[]): Pick<Board, 'restoring' | 'restored'> {
  return {
    restoring() {
      for (const device of devices) device.restoring?.();
    },
    restored() {
      for (const device of devices) device.restored?.();
    },
  };
}

function createSlot(
  options: BoardOptions,
  board: { ports: Sockets; mmio: Sockets; wires: readonly Wire[]; apicBus: ApicBus; flush(): void },
): Slot {
  return {
    ports: (name, start, size, handler) => board.ports.map(name, start, size, handler),
    mmio: (name, start, size, handler) => board.mmio.map(name, start, size, handler),
    line: gsi => board.wires[gsi].connect(),
    message: (address, data) => void board.apicBus.message(address, data),
    state: (name, version, initial) => options.states.state(name, version, initial),
    clock: options.clock,
    memory: options.memory,
    log: options.log,
    kill: options.kill,
    request(what, status) {
      board.flush();
      options.request(what, status);
    },
  };
}

/**
 * What makes each of the PCI devices, given its place: disks, then shared folders, network cards, a vsock, cards of the hypervisor's. Where virtio is
 * what guests look for first, the services follow, as far as there is room.
 */
function pciDevices(options: BoardOptions): ((slot: Slot, index: number) => PciDevice)[] {
  const { backEnds = NO_BACK_ENDS, diskBus, networkBus, vsockBus = PCI_VSOCK, random, isPartition = false } = options;
  const [first] = PCI_DISKS.keys();
  const disks = backEnds.disks.flatMap(disk => {
    const make = PCI_DISKS.get(disk.bus ?? diskBus ?? first);
    return make ? [(slot: Slot, index: number) => make(slot, disk, index)] : [];
  });
  const folders = backEnds.folders.map((folder, number) => (slot: Slot, index: number) => {
    return virtioAt(slot, new Virtio9p(slot, folder, `${number}`), index);
  });
  const [firstNetwork] = PCI_NETWORKS.keys();
  const networks = backEnds.networks.flatMap((network, number) => {
    const make = PCI_NETWORKS.get(network.bus ?? networkBus ?? firstNetwork);
    return make ? [(slot: Slot, index: number) => make(slot, network, number, index, options.tscs.length)] : [];
  });
  const { vsock } = backEnds;
  const sockets = (vsock ? onBus([vsock], PCI_VSOCK, vsockBus) : []).map(ours => (slot: Slot, index: number) => {
    return virtioAt(slot, new VirtioVsock(slot, ours), index);
  });
  const cards = (options.cards ?? []).map((card, number) => (slot: Slot, index: number) => {
    return new HypervisorCard(slot, card, number, index);
  });
  const chosen = [...disks, ...folders, ...networks, ...sockets, ...cards];
  if (!random || isPartition || (diskBus ?? first) !== first) return chosen;
  const services = PCI_SERVICES.map(make => (slot: Slot, index: number) => make(slot, { random }, index));
  return [...chosen, ...services.slice(0, Math.max(0, at.MAX_DISKS - chosen.length))];
}

/** The PCI bus: the host bridge is device 0, the others follow. */
function createPci(
  slot: Slot,
  plugged: ReturnType<typeof pciDevices>,
  add: <T extends Device>(device: T) => T,
): PciBus {
  const pci = add(new PciBus(slot));
  const hostBridge = new PciFunction(slot, 'host-bridge', at.HOST_BRIDGE);
  hostBridge.attach();
  pci.plug(0, hostBridge);
  for (const [index, make] of plugged.entries()) {
    const device = add(make(slot, index));
    pci.plug(index + 1, device.function, device);
  }
  return pci;
}

/** What answers at `start` of another's offsets. */
function from(start: number, rest: BusHandler): BusHandler {
  return {
    read: (offset, width, from) => rest.read(start + offset, width, from),
    write: (offset, width, value, from) => rest.write(start + offset, width, value, from),
  };
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
