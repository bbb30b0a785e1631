/**
 * PCI (PCI Local Bus specification 3.0): one bus behind a host bridge, reached by configuration mechanism 1; functions
 * with BARs of memory (32 bits) and of ports that the guest may move, a capability list, and an interrupt pin. A guest that puts a BAR on
 * top of RAM or of another device finds the BAR not answering.
 */
import type { BusHandler, UniformHandler, Width } from '../memory/bus.ts';
import type { PciIdentity } from '../paravirt/pci-card.ts';
import type { State, States } from '../state/state.ts';
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

const COMMAND_IO = 0x0001;
const COMMAND_MEMORY = 0x0002;
const COMMAND_MASTER = 0x0004;
const COMMAND_NO_INTX = 0x0400;
/** Memory, bus master, parity, SERR, interrupt disable: what can be set; I/O, where there is a BAR of ports. */
const COMMAND_WRITABLE = 0x0546;
/** The lowest bit of a BAR of ports. */
const BAR_IO = 1;
const STATUS_INTERRUPT = 0x08;
const STATUS_CAPABILITIES = 0x10;

const CONFIG_SIZE = 256;
const BAR_COUNT = 6;
/** Where a BAR answers that does not. */
const NOWHERE = -1;

/** Watches a capability's bytes in configuration space. */
export interface CapabilityHooks {
  /** Called before bytes of the capability are read, to bring `config` up to date. */
  beforeRead?(offset: number, width: number): void;
  /** Called after a write that touched the capability. */
  afterWrite?(offset: number, width: number): void;
}

/** Where firmware puts a device: BARs of memory and of ports from where on, and its interrupt line. */
export interface PciPlace {
  readonly address: number;
  readonly port: number;
  readonly wiring: { readonly line: InterruptLine; readonly lineNumber: number };
}

interface Bar {
  readonly kind: 'memory' | 'ports';
  readonly size: number;
  /** Undefined: addresses where the function itself answers nothing. */
  readonly handler: BusHandler | undefined;
  /** Takes the BAR away from where it answers. */
  unmap: () => void;
}

interface Capability extends CapabilityHooks {
  start: number;
  end: number;
}

/** One function: what has a configuration space. */
export class PciFunction {
  readonly name: string;
  /** The configuration space as firmware leaves it. */
  readonly #atReset = new Uint8Array(CONFIG_SIZE);
  readonly #state: State<{ config: Uint8Array; interrupt: boolean; messagesOn: boolean }>;
  /**
   * Where each BAR answers; NOWHERE if it does not. It does not follow from the configuration space alone: a BAR that
   * was put on another device stays silent until the guest writes its registers again.
   */
  readonly #answers: State<{ at: Float64Array }>;
  /** The bits of `config` that the guest can change. */
  readonly #writable = new Uint8Array(CONFIG_SIZE);
  readonly #bars: (Bar | undefined)[] = new Array(BAR_COUNT).fill(undefined);
  readonly #capabilities: Capability[] = [];
  readonly #slot: Slot;
  readonly #line: InterruptLine | undefined;

  /**
   * @param wiring `line` is for INTA, and `lineNumber` what firmware notes about it; a function without a line has no
   * interrupt pin. BARs and capabilities are added next, and then `attach` is called.
   */
  constructor(slot: Slot, name: string, identity: PciIdentity, wiring?: { line: InterruptLine; lineNumber: number }) {
    this.name = name;
    this.#slot = slot;
    this.#line = wiring?.line;
    this.#state = slot.state(`${name}/pci`, 1, () => ({
      config: this.#atReset.slice(),
      interrupt: false,
      messagesOn: false,
    }));
    this.#answers = slot.state(`${name}/bars`, 1, () => ({ at: new Float64Array(BAR_COUNT).fill(NOWHERE) }));
    store(this.#atReset, VENDOR_ID, 2, identity.vendor);
    store(this.#atReset, DEVICE_ID, 2, identity.device);
    store(this.#atReset, REVISION, 4, identity.revision | (identity.class << 8));
    store(this.#atReset, SUBSYSTEM_VENDOR_ID, 2, identity.subsystemVendor ?? 0);
    store(this.#atReset, SUBSYSTEM_ID, 2, identity.subsystem ?? 0);
    store(this.#atReset, INTERRUPT_PIN, 1, wiring ? 1 : 0);
    store(this.#atReset, INTERRUPT_LINE, 1, wiring?.lineNumber ?? 0);
    this.#allow(COMMAND, COMMAND_WRITABLE, 2);
    this.#allow(CACHE_LINE_SIZE, 0xffff, 2);
    this.#allow(INTERRUPT_LINE, 0xff, 1);
  }

  #allow(offset: number, mask: number, width: number): void {
    store(this.#writable, offset, width, mask);
  }

  /** The configuration space; a reset or restore puts another array in its place. */
  get config(): Uint8Array {
    return this.#state.config;
  }

  get classCode(): number {
    return load(this.config, CLASS, 3);
  }

  /**
   * Adds a 32-bit memory BAR. @param size a power of two, at least 16
   * @param address where firmware put it
   * @param handler undefined: nothing answers there
   */
  addBar(index: number, size: number, address: number, handler: BusHandler | undefined): void {
    if (size < 16 || size & (size - 1) || address % size) throw new Error(`${this.name}: bad BAR ${index}`);
    this.#bars[index] = { kind: 'memory', size, handler, unmap: () => {} };
    this.#allow(BARS + 4 * index, -size, 4);
    store(this.#atReset, BARS + 4 * index, 4, address);
  }

  /** Adds a BAR of I/O ports. @param size a power of two from 4 to 256 @param port where firmware put it */
  addPortBar(index: number, size: number, port: number, handler: BusHandler): void {
    if (size < 4 || size > 256 || size & (size - 1) || port % size) throw new Error(`${this.name}: bad BAR ${index}`);
    this.#bars[index] = { kind: 'ports', size, handler, unmap: () => {} };
    this.#allow(BARS + 4 * index, -size, 4);
    this.#allow(COMMAND, COMMAND_WRITABLE | COMMAND_IO, 2);
    store(this.#atReset, BARS + 4 * index, 4, port | BAR_IO);
  }

  /**
   * Appends a capability (6.7). @param body what follows the id and the next pointer @param writable which bits of it
   * the guest may change @returns its offset in configuration space
   */
  addCapability(id: number, body: Uint8Array, writable: Uint8Array, hooks: CapabilityHooks = {}): number {
    const last = this.#capabilities.at(-1);
    const at = last ? Math.ceil(last.end / 4) * 4 : HEADER_END;
    const end = at + 2 + body.length;
    if (end > CONFIG_SIZE) throw new Error(`${this.name}: configuration space is full`);
    this.#atReset[last ? last.start + 1 : CAPABILITIES] = at;
    this.#atReset[at] = id;
    this.#atReset.set(body, at + 2);
    this.#writable.set(writable, at + 2);
    this.#atReset[STATUS] |= STATUS_CAPABILITIES;
    this.#capabilities.push({ ...hooks, start: at, end });
    return at;
  }

  /** BARs and capabilities are complete: firmware places the BARs, and they answer. */
  attach(): void {
    let command = 0;
    for (const bar of this.#bars)
      if (bar) command |= COMMAND_MASTER | (bar.kind === 'memory' ? COMMAND_MEMORY : COMMAND_IO);
    store(this.#atReset, COMMAND, 2, command);
    this.reset();
  }

  reset(): void {
    this.#state.initialise();
    this.#updateLine();
    this.#updateBars();
  }

  /** Taken off the bus: no BAR answers, and the pin is quiet. */
  detach(): void {
    this.setInterrupt(false);
    store(this.config, COMMAND, 2, 0);
    this.#updateBars();
  }

  /** Before a restore: no BAR answers. */
  restoring(): void {
    for (const bar of this.#bars) {
      bar?.unmap();
      if (bar) bar.unmap = () => {};
    }
  }

  /** After a restore: the BARs answer where they did. @throws Error if something else is there */
  restored(): void {
    for (let index = 0; index < BAR_COUNT; index++)
      if (this.#bars[index] && this.#answers.at[index] !== NOWHERE) this.#map(index, this.#answers.at[index]);
  }

  /** Level of the interrupt pin, before the guest's disable bit. */
  setInterrupt(high: boolean): void {
    this.#state.interrupt = high;
    this.#updateLine();
  }

  /** Message-signalled interrupts were switched on or off: on, the pin is quiet. */
  set messagesOn(on: boolean) {
    this.#state.messagesOn = on;
    this.#updateLine();
  }

  #updateLine(): void {
    if (this.#state.interrupt) this.config[STATUS] |= STATUS_INTERRUPT;
    else this.config[STATUS] &= ~STATUS_INTERRUPT;
    const disabled = (load(this.config, COMMAND, 2) & COMMAND_NO_INTX) !== 0;
    this.#line?.set(this.#state.interrupt && !disabled && !this.#state.messagesOn);
  }

  /** @param offset aligned to `width` */
  readConfig(offset: number, width: Width): number {
    for (const c of this.#capabilities) {
      if (c.beforeRead && offset < c.end && offset + width > c.start) c.beforeRead(offset, width);
    }
    return load(this.config, offset, width);
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
    const { at } = this.#answers;
    for (let index = 0; index < BAR_COUNT; index++) {
      const bar = this.#bars[index];
      if (!bar) continue;
      const address = this.#wanted(index, bar);
      if (address === at[index]) continue;
      bar.unmap();
      bar.unmap = () => {};
      at[index] = NOWHERE;
      if (address === NOWHERE) continue;
      try {
        this.#map(index, address);
        at[index] = address;
      } catch {
        const { log } = this.#slot;
        log.once(`bar-${this.name}-${index}`, `${this.name}: BAR ${index} put on another device, does not answer`);
      }
    }
  }

  /** Where a BAR has been put; NOWHERE if that cannot be, or if its kind is switched off. */
  #wanted(index: number, { kind, size }: Bar): number {
    const command = load(this.config, COMMAND, 2);
    const value = load(this.config, BARS + 4 * index, 4);
    if (kind === 'memory') return command & COMMAND_MEMORY && value >= this.#slot.memory.size ? value : NOWHERE;
    const port = value - BAR_IO;
    return command & COMMAND_IO && port > 0 && port + size <= 0x10000 ? port : NOWHERE;
  }

  #map(index: number, address: number): void {
    const bar = this.#bars[index]!;
    if (!bar.handler) return;
    const claim = bar.kind === 'memory' ? this.#slot.mmio : this.#slot.ports;
    bar.unmap = claim(`${this.name} BAR ${index}`, address, bar.size, bar.handler);
  }
}

/** A little-endian number of `width` bytes at `offset`. */
export function load(bytes: Uint8Array, offset: number, width: number): number {
  let value = 0;
  for (let i = width - 1; i >= 0; i--) value = value * 256 + bytes[offset + i];
  return value;
}

export function store(bytes: Uint8Array, offset: number, width: number, value: number): void {
  for (let i = 0; i < width; i++) bytes[offset + i] = value >>> (8 * i);
}

/** The host bridge's two registers, and the bus behind it. */
export class PciBus implements Device {
  readonly name = 'pci';
  /** Port 0xcf8, four bytes: the address. Only a whole double word reaches it. */
  readonly address: UniformHandler = {
    read: (offset, width) => {
      const shifted = this.#state.address >>> (8 * (offset & 3));
      return width === 1 ? shifted & 0xff : width === 2 ? shifted & 0xffff : shifted;
    },
    write: (offset, width, value) => {
      if (width === 4 && offset === 0) this.#state.address = value & 0x80fffffc;
    },
  };
  /** Port 0xcfc, four bytes: the data. */
  readonly data: UniformHandler = {
    read: (offset, width) => {
      const target = this.#target;
      if (!target || (offset & 3) + width > 4) return width === 1 ? 0xff : width === 2 ? 0xffff : 0xffffffff;
      return target.readConfig((this.#state.address & 0xfc) + offset, width);
    },
    write: (offset, width, value) => {
      if ((offset & 3) + width <= 4) this.#target?.writeConfig((this.#state.address & 0xfc) + offset, width, value);
    },
  };

  readonly #functions: (PciFunction | undefined)[] = new Array(32).fill(undefined);
  /** Who has the function, if there is more of it. */
  readonly #owners: (Device | undefined)[] = new Array(32).fill(undefined);
  /** `unplugged`: a bit for each device that has been taken off. */
  readonly #state: State<{ address: number; unplugged: number }>;

  constructor(states: States) {
    this.#state = states.state(this.name, 2, () => ({ address: 0, unplugged: 0 }));
  }

  /** @param device 0-31 */
  plug(device: number, what: PciFunction, owner?: Device): void {
    if (this.#functions[device]) throw new Error(`PCI device ${device} is taken`);
    this.#functions[device] = what;
    this.#owners[device] = owner;
  }

  /** Takes the devices with such class codes off the bus, until it is reset: they do nothing any more. */
  unplug(matches: (classCode: number) => boolean): void {
    for (const [device, each] of this.#functions.entries()) {
      if (!each || this.#isUnplugged(device) || !matches(each.classCode)) continue;
      this.#owners[device]?.reset();
      each.detach();
      this.#state.unplugged |= 1 << device;
    }
  }

  #isUnplugged(device: number): boolean {
    return ((this.#state.unplugged >>> device) & 1) !== 0;
  }

  reset(): void {
    this.#state.initialise();
    for (const each of this.#functions) each?.reset();
  }

  restoring(): void {
    for (const each of this.#functions) each?.restoring();
  }

  restored(): void {
    for (const each of this.#functions) each?.restored();
  }

  /** Bit 31 enables; bits 23-16 are the bus, 15-11 the device, 10-8 the function. */
  get #target(): PciFunction | undefined {
    if (this.#state.address >= 0 || this.#state.address & 0x00ff0700) return undefined;
    const device = (this.#state.address >> 11) & 31;
    return this.#isUnplugged(device) ? undefined : this.#functions[device];
  }
}
