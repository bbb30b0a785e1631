/**
 * PCI (PCI Local Bus specification 3.0): one bus behind a host bridge, reached by configuration mechanism 1; functions
 * with 32-bit memory BARs that the guest may move, a capability list, and an interrupt pin. A guest that puts a BAR on top of
 * RAM or of another device finds the BAR not answering.
 */
import type { BusHandler, Width } from '../memory/bus.ts';
import type { Device, InterruptLine, Slot } from './device.ts';

/** Configuration header offsets. */
const VENDOR_ID = 0x00;
const DEVICE_ID = 0x02;
const COMMAND = 0x04;
const STATUS = 0x06;
const REVISION = 0x08;
const CLASS = 0x09;
const CACHE_LINE_SIZE = 0x0c;
const BARS = 0x10;
const SUBSYSTEM_VENDOR_ID = 0x2c;
const SUBSYSTEM_ID = 0x2e;
const CAPABILITIES = 0x34;
const INTERRUPT_LINE = 0x3c;
const INTERRUPT_PIN = 0x3d;
const HEADER_END = 0x40;

const COMMAND_MEMORY = 0x0002;
const COMMAND_MASTER = 0x0004;
const COMMAND_NO_INTX = 0x0400;
/** Memory, bus master, parity, SERR, interrupt disable: what can be set. There are no I/O BARs. */
const COMMAND_WRITABLE = 0x0546;
const STATUS_INTERRUPT = 0x08;
const STATUS_CAPABILITIES = 0x10;

const BAR_COUNT = 6;

export interface PciIdentity {
  vendor: number;
  device: number;
  revision: number;
  /** Base class, subclass and programming interface, 24 bits. */
  class: number;
  subsystemVendor?: number;
  subsystem?: number;
}

/** Watches a capability's bytes in configuration space. */
export interface CapabilityHooks {
  /** Called before bytes of the capability are read, to bring `config` up to date. */
  beforeRead?(offset: number, width: number): void;
  /** Called after a write that touched the capability. */
  afterWrite?(offset: number, width: number): void;
}

interface Bar {
  size: number;
  handler: BusHandler;
  /** Where it answers now, and how to take it away from there. */
  address: number | undefined;
  unmap: () => void;
}

interface Capability extends CapabilityHooks {
  start: number;
  end: number;
}

/** One function: what has a configuration space. */
export class PciFunction {
  readonly name: string;
  readonly config = new Uint8Array(256);
  readonly #view = new DataView(this.config.buffer);
  /** The bits of `config` that the guest can change. */
  readonly #writable = new Uint8Array(256);
  readonly #bars: (Bar | undefined)[] = new Array(BAR_COUNT).fill(undefined);
  readonly #capabilities: Capability[] = [];
  #lastCapability = CAPABILITIES;
  #freeAt = HEADER_END;
  #slot: Slot | undefined;
  #line: InterruptLine | undefined;
  #interrupt = false;
  #messagesOn = false;
  #atReset: Uint8Array | undefined;

  constructor(name: string, identity: PciIdentity) {
    this.name = name;
    this.#view.setUint16(VENDOR_ID, identity.vendor, true);
    this.#view.setUint16(DEVICE_ID, identity.device, true);
    this.#view.setUint32(REVISION, identity.revision | (identity.class << 8), true);
    this.#view.setUint16(SUBSYSTEM_VENDOR_ID, identity.subsystemVendor ?? 0, true);
    this.#view.setUint16(SUBSYSTEM_ID, identity.subsystem ?? 0, true);
    this.#allow(COMMAND, COMMAND_WRITABLE, 2);
    this.#allow(CACHE_LINE_SIZE, 0xffff, 2);
    this.#allow(INTERRUPT_LINE, 0xff, 1);
  }

  #allow(offset: number, mask: number, width: number): void {
    for (let i = 0; i < width; i++) this.#writable[offset + i] = (mask >>> (8 * i)) & 0xff;
  }

  get classCode(): number {
    return this.#view.getUint32(REVISION, true) >>> (8 * (CLASS - REVISION));
  }

  /**
   * Adds a 32-bit memory BAR. @param size a power of two, at least 16
   * @param address where firmware put it
   */
  addBar(index: number, size: number, address: number, handler: BusHandler): void {
    if (size < 16 || size & (size - 1) || address % size) throw new Error(`${this.name}: bad BAR ${index}`);
    this.#bars[index] = { size, handler, address: undefined, unmap: () => {} };
    this.#allow(BARS + 4 * index, -size, 4);
    this.#view.setUint32(BARS + 4 * index, address, true);
  }

  /**
   * Appends a capability (6.7). @param body what follows the id and the next pointer @param writable which bits of it
   * the guest may change @returns its offset in configuration space
   */
  addCapability(id: number, body: Uint8Array, writable: Uint8Array, hooks: CapabilityHooks = {}): number {
    const at = this.#freeAt;
    const end = at + 2 + body.length;
    if (end > this.config.length) throw new Error(`${this.name}: configuration space is full`);
    this.config[this.#lastCapability] = at;
    this.config[at] = id;
    this.config.set(body, at + 2);
    this.#writable.set(writable, at + 2);
    this.config[STATUS] |= STATUS_CAPABILITIES;
    this.#capabilities.push({ ...hooks, start: at, end });
    this.#lastCapability = at + 1;
    this.#freeAt = Math.ceil(end / 4) * 4;
    return at;
  }

  /** @param line for INTA; a function without one has no interrupt pin @param lineNumber what firmware notes about it */
  attach(slot: Slot, line?: InterruptLine, lineNumber = 0): void {
    this.#slot = slot;
    this.#line = line;
    this.config[INTERRUPT_PIN] = line ? 1 : 0;
    this.config[INTERRUPT_LINE] = lineNumber;
    // Firmware leaves BARs placed and decoding.
    const decodes = this.#bars.some(bar => bar !== undefined);
    this.#view.setUint16(COMMAND, decodes ? COMMAND_MEMORY | COMMAND_MASTER : 0, true);
    this.#atReset = this.config.slice();
    this.#updateBars();
  }

  reset(): void {
    if (this.#atReset) this.config.set(this.#atReset);
    this.#interrupt = this.#messagesOn = false;
    this.#updateLine();
    this.#updateBars();
  }

  /** Level of the interrupt pin, before the guest's disable bit. */
  setInterrupt(high: boolean): void {
    this.#interrupt = high;
    this.#updateLine();
  }

  /** Message-signalled interrupts were switched on or off: on, the pin is quiet. */
  set messagesOn(on: boolean) {
    this.#messagesOn = on;
    this.#updateLine();
  }

  #updateLine(): void {
    if (this.#interrupt) this.config[STATUS] |= STATUS_INTERRUPT;
    else this.config[STATUS] &= ~STATUS_INTERRUPT;
    const disabled = (this.#view.getUint16(COMMAND, true) & COMMAND_NO_INTX) !== 0;
    this.#line?.set(this.#interrupt && !disabled && !this.#messagesOn);
  }

  /** @param offset aligned to `width` */
  readConfig(offset: number, width: Width): number {
    for (const c of this.#capabilities) {
      if (c.beforeRead && offset < c.end && offset + width > c.start) c.beforeRead(offset, width);
    }
    if (width === 1) return this.config[offset];
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }

  writeConfig(offset: number, width: Width, value: number): void {
    for (let i = 0; i < width; i++) {
      const mask = this.#writable[offset + i];
      this.config[offset + i] = (this.config[offset + i] & ~mask) | ((value >>> (8 * i)) & mask);
    }
    if (offset < HEADER_END) {
      if (offset < BARS + 4 * BAR_COUNT) this.#updateBars();
      this.#updateLine();
    }
    for (const c of this.#capabilities) {
      if (c.afterWrite && offset < c.end && offset + width > c.start) c.afterWrite(offset, width);
    }
  }

  /** Lets each BAR answer where it has been put, if it may. */
  #updateBars(): void {
    const slot = this.#slot;
    if (!slot) return;
    const decoding = (this.#view.getUint16(COMMAND, true) & COMMAND_MEMORY) !== 0;
    for (let index = 0; index < BAR_COUNT; index++) {
      const bar = this.#bars[index];
      if (!bar) continue;
      const wanted = this.#view.getUint32(BARS + 4 * index, true);
      const address = decoding && wanted >= slot.memory.size ? wanted : undefined;
      if (address === bar.address) continue;
      bar.unmap();
      bar.unmap = () => {};
      bar.address = undefined;
      if (address === undefined) continue;
      try {
        bar.unmap = slot.mmio(`${this.name} BAR ${index}`, address, bar.size, bar.handler);
        bar.address = address;
      } catch {
        slot.log.once(`bar-${this.name}-${index}`, `${this.name}: BAR ${index} put on another device, does not answer`);
      }
    }
  }
}

/** The host bridge's two registers, and the bus behind it. */
export class PciBus implements Device {
  readonly name = 'pci';
  /** Port 0xcf8, four bytes: the address. Only a whole double word reaches it. */
  readonly address: BusHandler = {
    read: (offset, width) => {
      const shifted = this.#address >>> (8 * (offset & 3));
      return width === 1 ? shifted & 0xff : width === 2 ? shifted & 0xffff : shifted;
    },
    write: (offset, width, value) => {
      if (width === 4 && offset === 0) this.#address = value & 0x80fffffc;
    },
  };
  /** Port 0xcfc, four bytes: the data. */
  readonly data: BusHandler = {
    read: (offset, width) => {
      const target = this.#target();
      if (!target || (offset & 3) + width > 4) return width === 1 ? 0xff : width === 2 ? 0xffff : 0xffffffff;
      return target.readConfig((this.#address & 0xfc) + offset, width);
    },
    write: (offset, width, value) => {
      if ((offset & 3) + width <= 4) this.#target()?.writeConfig((this.#address & 0xfc) + offset, width, value);
    },
  };

  readonly #functions: (PciFunction | undefined)[] = new Array(32).fill(undefined);
  #address = 0;

  /** @param device 0-31 */
  plug(device: number, what: PciFunction): void {
    if (this.#functions[device]) throw new Error(`PCI device ${device} is taken`);
    this.#functions[device] = what;
  }

  reset(): void {
    this.#address = 0;
    for (const each of this.#functions) each?.reset();
  }

  /** Bit 31 enables; bits 23-16 are the bus, 15-11 the device, 10-8 the function. */
  #target(): PciFunction | undefined {
    if (this.#address >= 0 || this.#address & 0x00ff0700) return undefined;
    return this.#functions[(this.#address >> 11) & 31];
  }
}
