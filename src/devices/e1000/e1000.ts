/**
 * Intel's 82540EM, a network card that systems of the last 25 years know (PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual). Its link is always up, and it lets every frame through: what is not for them, systems drop themselves.
 */
import type { Timer } from '../../host/clock.ts';
import type { Network, Offload } from '../../host/network.ts';
import type { UniformHandler } from '../../memory/bus.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import { complete, FrameQueue } from '../../net/offload.ts';
import type { State } from '../../state/state.ts';
import type { Device, Slot } from '../device.ts';
import { PciFunction, type PciPlace } from '../pci.ts';
import { eepromFor, initialWires, moveWires, readWires } from './eeprom.ts';
import * as at from './layout.ts';
import { initialTransmit, sendFrame, takeContext, takePiece } from './transmit.ts';

const IDENTITY = {
  vendor: 0x8086,
  device: 0x100e,
  revision: 3,
  class: 0x020000,
  subsystemVendor: 0x8086,
  subsystem: 0x001e,
};

const REGISTER_BAR = 0;
const REGISTER_BAR_SIZE = 0x20000;
const PORT_BAR = 1;
const PORT_BAR_SIZE = 0x40;

const LEAST_FRAME = 60;
const CHECK_SEQUENCE = 4;
/** Descriptors for one write, before the rest of the machine gets a turn. */
const TURN = 512;
/** Bytes that wait for a driver that has no buffers. */
const WAITING_BYTES = 2 ** 22;
/** Data descriptors have 20 bits of length, older ones 16. */
const DATA_LENGTH = 0xfffff;

const initial = () => ({
  registers: new Uint32Array(at.REGISTERS_END / 4),
  phy: new Uint16Array(32),
  wires: initialWires(),
  /** Which register the ports lead to. */
  port: 0,
  transmit: initialTransmit(),
});

export class E1000 implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly #slot: Slot;
  readonly #memory: GuestMemory;
  readonly #network: Network;
  readonly #eeprom: Uint16Array;
  readonly #waiting = new FrameQueue(WAITING_BYTES);
  readonly #state: State<ReturnType<typeof initial>>;
  /** Set when a turn was put off. */
  readonly #later: Timer;

  /** @param id which card of the machine it is @param mac six bytes, what the driver finds */
  constructor(slot: Slot, network: Network, id: string, mac: Uint8Array, { address, port, wiring }: PciPlace) {
    this.name = `e1000-${id}`;
    this.#slot = slot;
    this.#memory = slot.memory;
    this.#network = network;
    this.#eeprom = eepromFor(mac);
    this.#state = slot.state(this.name, 1, initial);
    this.#later = slot.clock.timer(this.name, () => this.#send());
    this.function = new PciFunction(slot, this.name, IDENTITY, wiring);
    const registers: UniformHandler = {
      read: (offset, width) => (width === 4 ? this.#read(offset) >>> 0 : 0),
      write: (offset, width, value) => {
        if (width === 4) this.#write(offset, value >>> 0);
      },
    };
    const ports: UniformHandler = {
      read: (offset, width) =>
        width !== 4 ? 0 : offset === 0 ? this.#state.port : offset === 4 ? this.#read(this.#state.port) >>> 0 : 0,
      write: (offset, width, value) => {
        if (width !== 4) return;
        if (offset === 0) this.#state.port = value >>> 0;
        else if (offset === 4) this.#write(this.#state.port, value >>> 0);
      },
    };
    this.function.addBar(REGISTER_BAR, REGISTER_BAR_SIZE, address, registers);
    this.function.addPortBar(PORT_BAR, PORT_BAR_SIZE, port, ports);
    this.function.attach();
    this.#powerOn();
    network.connect({
      clock: slot.clock,
      log: slot.log,
      receive: (frame, offload) => this.#receive(frame, offload),
    });
  }

  /** Power-on. The configuration space is the bus's to reset. */
  reset(): void {
    this.#powerOn();
    this.function.setInterrupt(false);
  }

  #powerOn(): void {
    this.#state.initialise();
    this.#later.off();
    this.#waiting.clear();
    const { registers, phy } = this.#state;
    for (const [register, value] of at.POWER_ON) registers[register / 4] = value;
    for (const [register, value] of at.PHY_REGISTERS) phy[register] = value;
    registers[at.RAL0 / 4] = this.#eeprom[0] | (this.#eeprom[1] << 16);
    registers[at.RAH0 / 4] = this.#eeprom[2] | at.ADDRESS_VALID;
  }

  // ---- Registers -------------------------------------------------------------------------------

  #read(offset: number): number {
    const { registers, wires } = this.#state;
    if (offset % 4 || offset >= at.REGISTERS_END) return 0;
    switch (offset) {
      case at.EECD:
        return readWires(wires, this.#eeprom);
      case at.ICR: {
        const causes = registers[at.ICR / 4];
        registers[at.ICR / 4] = 0;
        this.#updateLine();
        return causes;
      }
      case at.ICS:
      case at.IMC:
        return 0;
    }
    return offset >= at.STATISTICS.start && offset < at.STATISTICS.end ? 0 : registers[offset / 4];
  }

  #write(offset: number, value: number): void {
    const { registers, wires } = this.#state;
    if (offset % 4 || offset >= at.REGISTERS_END) return;
    switch (offset) {
      case at.CTRL:
        if (value & at.CTRL_RST) return this.reset();
        registers[at.CTRL / 4] = value;
        return;
      case at.STATUS:
        return;
      case at.EECD:
        return moveWires(wires, value);
      case at.EERD:
        registers[at.EERD / 4] =
          value & at.EERD_START ? (value & 0xff00) | at.EERD_DONE | (this.#eeprom[(value >> 8) & 63] << 16) : value;
        return;
      case at.MDIC:
        registers[at.MDIC / 4] = this.#phy(value);
        return;
      case at.ICR:
        registers[at.ICR / 4] &= ~value;
        return this.#updateLine();
      case at.ICS:
        return this.#interrupt(value);
      case at.IMS:
        registers[at.IMS / 4] |= value;
        return this.#updateLine();
      case at.IMC:
        registers[at.IMS / 4] &= ~value;
        return this.#updateLine();
    }
    registers[offset / 4] = value;
    if (offset === at.TDT || offset === at.TCTL) this.#send();
    if (offset === at.RDT || offset === at.RCTL) this.#deliver();
  }

  /** @returns what MDIC reads after a command */
  #phy(command: number): number {
    const { phy } = this.#state;
    const register = (command >> 16) & 31;
    const isKnown = at.PHY_REGISTERS.some(([known]) => known === register);
    if (((command >> 21) & 31) !== at.PHY_ADDRESS) return command | at.MDIC_READY | at.MDIC_ERROR;
    // Other registers are a driver's to write; nothing comes of them.
    if (command & at.MDIC_WRITE && register === 0) phy[0] = command & 0xffff & ~at.PHY_CONTROL_RESET_OR_RESTART;
    else if (command & at.MDIC_WRITE && (!isKnown || register === 4 || register >= 9)) phy[register] = command;
    return (command & 0xffff0000) | (command & at.MDIC_READ ? phy[register] : command & 0xffff) | at.MDIC_READY;
  }

  #interrupt(causes: number): void {
    this.#state.registers[at.ICR / 4] |= causes;
    this.#updateLine();
  }

  #updateLine(): void {
    const { registers } = this.#state;
    this.function.setInterrupt((registers[at.ICR / 4] & registers[at.IMS / 4]) !== 0);
  }

  // ---- Rings -----------------------------------------------------------------------------------

  /** A ring of descriptors, by its first register; undefined while it makes no sense. */
  #ring(first: number): { base: number; entries: number; head: number; tail: number } | undefined {
    const { registers } = this.#state;
    const [low, high, length, , head, , tail] = registers.subarray(first / 4, first / 4 + 7);
    const base = low - (low % 16) + high * 2 ** 32;
    const entries = Math.floor((length & 0xfff80) / at.DESCRIPTOR);
    const isSound = entries > 0 && head < entries && tail < entries;
    return isSound && this.#memory.has(base, entries * at.DESCRIPTOR) ? { base, entries, head, tail } : undefined;
  }

  // ---- Out of the guest ------------------------------------------------------------------------

  #send(): void {
    const { registers } = this.#state;
    // A turn that was put off will do it.
    if (!(registers[at.TCTL / 4] & at.ENABLE) || this.#later.due !== undefined) return;
    const ring = this.#ring(at.TDBAL);
    if (!ring || ring.head === ring.tail) return;
    const { base, entries, tail } = ring;
    let { head } = ring;
    for (let count = 0; head !== tail && count < TURN; count++) {
      this.#take(base + at.DESCRIPTOR * head);
      head = (head + 1) % entries;
    }
    registers[at.TDH / 4] = head;
    this.#interrupt(at.TXDW | (head === tail ? at.TXQE : 0));
    if (head !== tail) this.#later.at(this.#slot.clock.now());
  }

  #take(descriptor: number): void {
    const memory = this.#memory;
    const { transmit } = this.#state;
    const view = new DataView(memory.copyOut(descriptor, at.DESCRIPTOR).buffer);
    const command = view.getUint8(11);
    const isNew = (command & at.TX_DEXT) !== 0;
    const isContext = isNew && view.getUint8(10) >> 4 === 0;
    if (isContext) takeContext(transmit, view);
    else {
      const address = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
      const length = isNew ? view.getUint32(8, true) & DATA_LENGTH : view.getUint16(8, true);
      const piece = memory.has(address, length) ? memory.bytes.subarray(address, address + length) : new Uint8Array(0);
      takePiece(transmit, piece, command, isNew ? view.getUint8(13) : undefined);
      if (!isNew && command & at.TX_IC)
        [transmit.legacyStart, transmit.legacyAt] = [view.getUint8(13), view.getUint8(10)];
      if (command & at.TX_EOP) sendFrame(transmit, this.#network);
    }
    if (command & at.TX_RS) memory.write8(descriptor + 12, view.getUint8(12) | at.DD);
  }

  // ---- Into the guest --------------------------------------------------------------------------

  #receive(frame: Uint8Array, offload: Offload | undefined): void {
    if (!(this.#state.registers[at.RCTL / 4] & at.ENABLE)) return;
    // What we complete is right: the driver need not look at it again.
    const whole = offload && { ...offload, segment: 0 };
    for (const each of complete(frame, offload)) this.#waiting.put(each, whole);
    this.#deliver();
  }

  /** Hands over what waits, as far as the driver has buffers. */
  #deliver(): void {
    const { registers } = this.#state;
    const control = registers[at.RCTL / 4];
    if (!(control & at.ENABLE)) return;
    const size = bufferSize(control);
    let delivered = false;
    for (let next = this.#waiting.first; next; next = this.#waiting.first) {
      const ring = this.#ring(at.RDBAL);
      const length = Math.max(next.bytes.length, LEAST_FRAME) + (control & at.RCTL_SECRC ? 0 : CHECK_SEQUENCE);
      const needed = Math.ceil(length / size);
      // A full ring stands for an empty one: its tail is the first descriptor that is not the card's.
      if (!ring || (ring.tail - ring.head + ring.entries) % ring.entries < needed) break;
      this.#put(ring, next.bytes, length, size, next.offload !== undefined);
      this.#waiting.shift();
      delivered = true;
    }
    if (delivered) this.#interrupt(at.RXT0);
  }

  #put(
    { base, entries, head }: { base: number; entries: number; head: number },
    frame: Uint8Array,
    length: number,
    size: number,
    verified: boolean,
  ): void {
    const memory = this.#memory;
    const { registers } = this.#state;
    const padded = new Uint8Array(length);
    padded.set(frame);
    const checked = verified && registers[at.RXCSUM / 4] & at.RXCSUM_TUOFL;
    const status = at.DD | (checked ? at.RX_TCPCS | at.RX_IPCS : at.RX_IXSM);
    for (let done = 0; done < length; done += size) {
      const descriptor = base + at.DESCRIPTOR * head;
      const piece = padded.subarray(done, done + size);
      const address = memory.read32(descriptor) + memory.read32(descriptor + 4) * 2 ** 32;
      // A buffer outside of RAM swallows what is put there.
      if (memory.has(address, piece.length)) memory.copyIn(address, piece);
      memory.write32(descriptor + 8, piece.length);
      memory.write32(descriptor + 12, status | (done + size >= length ? at.RX_EOP : 0));
      head = (head + 1) % entries;
    }
    registers[at.RDH / 4] = head;
  }
}

/** 2048, 1024, 512 or 256 bytes; with BSEX 16 times as many, but for the first. */
function bufferSize(control: number): number {
  const size = 2048 >> ((control >> at.RCTL_BSIZE) & 3);
  return control & at.RCTL_BSEX && size < 2048 ? size * 16 : size;
}
