/**
 * The PCI transport of virtio 1.x (Virtual I/O Device specification 1.2, 4.1), without the legacy interface:
 * capabilities that say where in BAR 0 the registers are, MSI-X in BAR 1, the interrupt pin for drivers without MSI-X.
 */

import type { Timer } from '../../host/clock.ts';
import type { UniformHandler, Width } from '../../memory/bus.ts';
import type { State } from '../../state/state.ts';
import type { Device, InterruptLine, Slot } from '../device.ts';
import { MSI_X_BAR_SIZE, MsiX } from '../msi-x.ts';
import { load, PciFunction, store } from '../pci.ts';
import { VirtQueue } from './virtqueue.ts';

export const VIRTIO_F_INDIRECT_DESC = 28;
export const VIRTIO_F_EVENT_IDX = 29;
export const VIRTIO_F_VERSION_1 = 32;

const VIRTIO_VENDOR = 0x1af4;
/** Plus the device type. */
const MODERN_DEVICE_ID = 0x1040;

/** Device status bits (2.1). */
const FEATURES_OK = 8;
const DRIVER_OK = 4;
const DEVICE_NEEDS_RESET = 64;

/** Common configuration, offsets (4.1.4.3). */
const DEVICE_FEATURE_SELECT = 0x00;
const DEVICE_FEATURE = 0x04;
const DRIVER_FEATURE_SELECT = 0x08;
const DRIVER_FEATURE = 0x0c;
const CONFIG_MSIX_VECTOR = 0x10;
const NUM_QUEUES = 0x12;
const DEVICE_STATUS = 0x14;
const CONFIG_GENERATION = 0x15;
const QUEUE_SELECT = 0x16;
const QUEUE_SIZE = 0x18;
const QUEUE_MSIX_VECTOR = 0x1a;
const QUEUE_ENABLE = 0x1c;
const QUEUE_NOTIFY_OFF = 0x1e;
const QUEUE_DESC = 0x20;
const QUEUE_DRIVER = 0x28;
const QUEUE_DEVICE = 0x30;
const COMMON_SIZE = 0x38;

const NO_VECTOR = 0xffff;

/** Interrupt status bits (4.1.4.5). */
const ISR_QUEUE = 1;
const ISR_CONFIGURATION = 2;

/** BAR 0: a page for each structure. */
const REGISTER_BAR = 0;
const MSI_X_BAR = 1;
const COMMON_AT = 0x0000;
const ISR_AT = 0x1000;
const DEVICE_AT = 0x2000;
const NOTIFY_AT = 0x3000;
const REGISTER_BAR_SIZE = 0x4000;
const NOTIFY_MULTIPLIER = 4;

/** Vendor capability and its configuration types (4.1.4). */
const VENDOR_CAPABILITY = 0x09;
const COMMON_CFG = 1;
const NOTIFY_CFG = 2;
const ISR_CFG = 3;
const DEVICE_CFG = 4;
const PCI_CFG = 5;

/** How a device reaches its driver by itself: to hand over what has arrived, or to say that it has changed. */
export interface VirtioTransport {
  /** Queue `index` while the driver runs it; undefined before that, and once the device waits for a reset. */
  queue(index: number): VirtQueue | undefined;
  /**
   * The device has pushed into queue `index`: interrupts the driver if it wants to know. `serve` need not call this.
   */
  used(index: number): void;
  /** The device's `configuration` has changed: interrupts a driver that runs (2.1, 4.1.4.5). */
  configurationChanged(): void;
}

/** What makes a virtio device of one kind; the transport does the rest. */
export interface VirtioDevice {
  readonly name: string;
  /** The device type (chapter 5): 2 is a block device. */
  readonly type: number;
  /** PCI class code, 24 bits. */
  readonly pciClass: number;
  /** Feature bits of the device's kind, offered on top of the transport's. */
  readonly features: bigint;
  /** The greatest size of each queue. */
  readonly queueSizes: readonly number[];
  /** The device-specific configuration. Its length never changes. */
  readonly configuration: Uint8Array;
  /** The driver writes `value` to the 32-bit word at `offset` of the configuration. Default: it cannot write there. */
  configure?(offset: number, value: number): void;
  /** As a `Device`. */
  restored?(): void;
  requestMemory?(bytes: number): boolean;
  /** Hands in the transport, once, when the machine is built: for devices that do something unasked. */
  attach?(transport: VirtioTransport): void;
  /** The driver has accepted `features` and is about to start. */
  start(features: bigint): void;
  /**
   * Serves requests waiting in queue `index`.
   * @returns true if there may be more, and the rest of the machine should have a turn first
   */
  serve(index: number, queue: VirtQueue): boolean;
}

const initial = (queues: number) => ({
  status: 0,
  /** The features that the driver has accepted. */
  accepted: 0n,
  deviceFeatureSelect: 0,
  driverFeatureSelect: 0,
  queueSelect: 0,
  configurationVector: NO_VECTOR,
  queueVectors: new Uint16Array(queues).fill(NO_VECTOR),
  isr: 0,
  /** Changes whenever the device's configuration does, so that a driver can read all of one (2.5.1). */
  generation: 0,
});

export class VirtioPci implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly #slot: Slot;
  readonly #device: VirtioDevice;
  readonly #offered: bigint;
  readonly #queues: VirtQueue[];
  readonly #msiX: MsiX;

  readonly #state: State<ReturnType<typeof initial>>;
  /** For each queue, set when a turn was put off; see `VirtioDevice.serve`. */
  readonly #later: readonly Timer[];

  /**
   * @param address where firmware put the device's BARs, aligned to twice REGISTER_BAR_SIZE
   * @param wiring as PciFunction's
   */
  constructor(slot: Slot, device: VirtioDevice, address: number, wiring?: { line: InterruptLine; lineNumber: number }) {
    this.name = device.name;
    this.#slot = slot;
    this.#device = device;
    this.#offered = device.features | bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_INDIRECT_DESC) | bit(VIRTIO_F_EVENT_IDX);
    this.#state = slot.state(`${this.name}/virtio`, 1, () => initial(device.queueSizes.length));
    this.#queues = device.queueSizes.map((size, index) => {
      return new VirtQueue(slot, `${this.name}/queue/${index}`, slot.memory, size);
    });
    this.#later = this.#queues.map((_, index) =>
      slot.clock.timer(`${this.name}/queue/${index}`, () => this.#serve(index)),
    );
    const identity = {
      vendor: VIRTIO_VENDOR,
      device: MODERN_DEVICE_ID + device.type,
      revision: 1,
      class: device.pciClass,
      subsystemVendor: VIRTIO_VENDOR,
      subsystem: MODERN_DEVICE_ID + device.type,
    };
    this.function = new PciFunction(slot, device.name, identity, wiring);
    const registers: UniformHandler = {
      read: (offset, width) => this.#read(offset, width),
      write: (offset, width, value) => this.#write(offset, width, value),
    };
    // One vector for configuration changes, one a queue.
    this.#msiX = new MsiX(slot, this.function, this.#queues.length + 1, MSI_X_BAR);
    this.function.addBar(REGISTER_BAR, REGISTER_BAR_SIZE, address, registers);
    this.function.addBar(MSI_X_BAR, MSI_X_BAR_SIZE, address + REGISTER_BAR_SIZE, this.#msiX);
    this.#addCapability(COMMON_CFG, COMMON_AT, COMMON_SIZE);
    this.#addCapability(ISR_CFG, ISR_AT, 1);
    // A structure of no bytes would keep drivers off (Linux: virtio_pci_modern_dev.c, vp_modern_map_capability).
    const { length } = device.configuration;
    if (length > 0) this.#addCapability(DEVICE_CFG, DEVICE_AT, length);
    this.#addCapability(NOTIFY_CFG, NOTIFY_AT, NOTIFY_MULTIPLIER * this.#queues.length, NOTIFY_MULTIPLIER);
    this.#addConfigurationAccess(registers);
    this.function.attach();
    device.attach?.({
      queue: index => (this.#runs() && this.#queues[index]?.state.enabled ? this.#queues[index] : undefined),
      used: index => {
        if (this.#runs()) this.#tell(index, this.#queues[index]);
      },
      configurationChanged: () => this.#configurationChanged(),
    });
  }

  /** Power-on. The configuration space is the bus's to reset. */
  reset(): void {
    this.#msiX.reset();
    this.#resetDevice();
  }

  /** The driver's reset, by writing 0 to the status: the PCI side stays as it is. */
  #resetDevice(): void {
    this.#state.initialise();
    for (const queue of this.#queues) queue.reset();
    for (const turn of this.#later) turn.off();
    this.function.setInterrupt(false);
  }

  restored(): void {
    this.#device.restored?.();
  }

  requestMemory(bytes: number): boolean {
    return this.#device.requestMemory?.(bytes) ?? false;
  }

  // ---- Capabilities ----------------------------------------------------------------------------

  #addCapability(type: number, offset: number, length: number, multiplier?: number): void {
    const body = capabilityBody(type, offset, length, multiplier === undefined ? 0 : 4);
    if (multiplier !== undefined) new DataView(body.buffer).setUint32(14, multiplier, true);
    this.function.addCapability(VENDOR_CAPABILITY, body, new Uint8Array(body.length));
  }

  /** The window through configuration space, for software that runs before BARs are placed (4.1.4.9). */
  #addConfigurationAccess(registers: UniformHandler): void {
    const body = capabilityBody(PCI_CFG, 0, 0, 4);
    const writable = new Uint8Array(body.length);
    writable.fill(0xff, 2, 3); // BAR
    writable.fill(0xff, 6); // offset, length and data
    const access = (isWrite: boolean) => {
      const { config } = this.function;
      const offset = load(config, at + 8, 4);
      const length = load(config, at + 12, 4);
      const data = at + 16;
      const possible = config[at + 4] === REGISTER_BAR && (length === 1 || length === 2 || length === 4);
      if (!possible || offset % length || offset >= REGISTER_BAR_SIZE) return;
      if (isWrite) registers.write(offset, length, load(config, data, length));
      else store(config, data, 4, registers.read(offset, length));
    };
    const at = this.function.addCapability(VENDOR_CAPABILITY, body, writable, {
      beforeRead: (offset, width) => {
        if (offset + width > at + 16) access(false);
      },
      afterWrite: (offset, width) => {
        if (offset + width > at + 16) access(true);
      },
    });
  }

  // ---- Registers -------------------------------------------------------------------------------

  #read(offset: number, width: Width): number {
    const within = offset & 0xfff;
    switch (offset & 0x3000) {
      case COMMON_AT:
        return this.#readCommon(within, width);
      case ISR_AT: {
        if (within !== 0) return 0;
        const isr = this.#state.isr;
        this.#state.isr = 0;
        this.function.setInterrupt(false);
        return isr;
      }
      case DEVICE_AT: {
        const { configuration } = this.#device;
        let value = 0;
        for (let i = 0, scale = 1; i < width && i < 4; i++, scale *= 256) {
          value += (configuration[within + i] ?? 0) * scale;
        }
        return value;
      }
      default:
        return 0;
    }
  }

  #write(offset: number, width: Width, value: number): void {
    const within = offset & 0xfff;
    switch (offset & 0x3000) {
      case COMMON_AT:
        return this.#writeCommon(within, width, value);
      case NOTIFY_AT:
        return this.#serve(within / NOTIFY_MULTIPLIER);
      case DEVICE_AT:
        if (width === 4 && within % 4 === 0) this.#device.configure?.(within, value >>> 0);
    }
  }

  /** A register is read at its own offset in its own width, or narrower; 64-bit ones as two halves. */
  #readCommon(offset: number, width: Width): number {
    const shifted = this.#commonWord(offset & ~3) >>> (8 * (offset & 3));
    return width === 1 ? shifted & 0xff : width === 2 ? shifted & 0xffff : shifted;
  }

  #commonWord(offset: number): number {
    const queue = this.#queues[this.#state.queueSelect];
    switch (offset) {
      case DEVICE_FEATURE_SELECT:
        return this.#state.deviceFeatureSelect;
      case DEVICE_FEATURE:
        return featureWord(this.#offered, this.#state.deviceFeatureSelect);
      case DRIVER_FEATURE_SELECT:
        return this.#state.driverFeatureSelect;
      case DRIVER_FEATURE:
        return featureWord(this.#state.accepted, this.#state.driverFeatureSelect);
      case CONFIG_MSIX_VECTOR: // and NUM_QUEUES
        return this.#state.configurationVector | (this.#queues.length << 16);
      case DEVICE_STATUS: // and CONFIG_GENERATION and QUEUE_SELECT
        return this.#state.status | (this.#state.generation << 8) | (this.#state.queueSelect << 16);
      case QUEUE_SIZE: // and QUEUE_MSIX_VECTOR
        return queue ? queue.state.size | (this.#state.queueVectors[this.#state.queueSelect] << 16) : NO_VECTOR << 16;
      case QUEUE_ENABLE: // and QUEUE_NOTIFY_OFF
        return queue ? (queue.state.enabled ? 1 : 0) | (this.#state.queueSelect << 16) : 0;
      case QUEUE_DESC:
        return queue ? low(queue.state.descriptors) : 0;
      case QUEUE_DESC + 4:
        return queue ? high(queue.state.descriptors) : 0;
      case QUEUE_DRIVER:
        return queue ? low(queue.state.available) : 0;
      case QUEUE_DRIVER + 4:
        return queue ? high(queue.state.available) : 0;
      case QUEUE_DEVICE:
        return queue ? low(queue.state.used) : 0;
      case QUEUE_DEVICE + 4:
        return queue ? high(queue.state.used) : 0;
    }
    return 0;
  }

  #writeCommon(offset: number, width: Width, value: number): void {
    if (width !== commonWidth(offset)) return;
    value >>>= 0;
    switch (offset) {
      case DEVICE_FEATURE_SELECT:
        this.#state.deviceFeatureSelect = value;
        return;
      case DRIVER_FEATURE_SELECT:
        this.#state.driverFeatureSelect = value;
        return;
      case DRIVER_FEATURE:
        return this.#acceptFeatures(value);
      case CONFIG_MSIX_VECTOR:
        this.#state.configurationVector = this.#vector(value);
        return;
      case DEVICE_STATUS:
        return this.#writeStatus(value);
      case QUEUE_SELECT:
        this.#state.queueSelect = value;
        return;
      case QUEUE_MSIX_VECTOR:
        if (this.#state.queueSelect < this.#queues.length)
          this.#state.queueVectors[this.#state.queueSelect] = this.#vector(value);
        return;
    }
    const queue = this.#queues[this.#state.queueSelect];
    // Once enabled, a queue stays as it is until reset (4.1.4.3.2).
    if (!queue || queue.state.enabled) return;
    switch (offset) {
      case QUEUE_SIZE:
        queue.state.size = value;
        break;
      case QUEUE_ENABLE:
        if (value !== 1) break;
        queue.enable();
        if (queue.broken !== undefined) this.#needReset(queue.broken);
        break;
      case QUEUE_DESC:
        queue.state.descriptors = withLow(queue.state.descriptors, value);
        break;
      case QUEUE_DESC + 4:
        queue.state.descriptors = withHigh(queue.state.descriptors, value);
        break;
      case QUEUE_DRIVER:
        queue.state.available = withLow(queue.state.available, value);
        break;
      case QUEUE_DRIVER + 4:
        queue.state.available = withHigh(queue.state.available, value);
        break;
      case QUEUE_DEVICE:
        queue.state.used = withLow(queue.state.used, value);
        break;
      case QUEUE_DEVICE + 4:
        queue.state.used = withHigh(queue.state.used, value);
        break;
    }
  }

  /** A vector that does not exist reads back as none: the driver then makes do with fewer (4.1.5.1.2.2). */
  #vector(value: number): number {
    return value <= this.#queues.length ? value : NO_VECTOR;
  }

  #acceptFeatures(word: number): void {
    if (this.#state.status & FEATURES_OK || this.#state.driverFeatureSelect > 1) return;
    const shift = BigInt(32 * this.#state.driverFeatureSelect);
    this.#state.accepted = (this.#state.accepted & ~(0xffffffffn << shift)) | (BigInt(word) << shift);
  }

  #writeStatus(value: number): void {
    if (value === 0) return this.#resetDevice();
    const acceptable =
      (this.#state.accepted & ~this.#offered) === 0n && (this.#state.accepted & bit(VIRTIO_F_VERSION_1)) !== 0n;
    // The driver reads the bit back to see whether its choice of features was taken (3.1.1).
    if (value & FEATURES_OK && !acceptable) value &= ~FEATURES_OK;
    const starts = (value & ~this.#state.status & FEATURES_OK) !== 0;
    // The driver adds bits one by one; only a reset takes them away.
    this.#state.status |= value & 0x8f;
    if (!starts) return;
    for (const queue of this.#queues) {
      queue.state.eventIndex = (this.#state.accepted & bit(VIRTIO_F_EVENT_IDX)) !== 0n;
      queue.state.indirect = (this.#state.accepted & bit(VIRTIO_F_INDIRECT_DESC)) !== 0n;
    }
    this.#device.start(this.#state.accepted);
  }

  // ---- Queues ----------------------------------------------------------------------------------

  /** The driver has started the device, and nothing has gone wrong since. */
  #runs(): boolean {
    return (this.#state.status & (DRIVER_OK | DEVICE_NEEDS_RESET)) === DRIVER_OK;
  }

  #serve(index: number): void {
    const queue = this.#queues[index];
    if (!queue || !this.#runs()) return;
    // A turn that was put off will serve it.
    if (this.#later[index].due !== undefined) return;
    const more = this.#device.serve(index, queue);
    this.#tell(index, queue);
    if (more && queue.broken === undefined) this.#later[index].at(this.#slot.clock.now());
  }

  /** The device has pushed into a queue. */
  #tell(index: number, queue: VirtQueue): void {
    if (queue.broken !== undefined) this.#needReset(queue.broken);
    else if (queue.settle()) this.#interrupt(ISR_QUEUE, this.#state.queueVectors[index]);
  }

  #configurationChanged(): void {
    this.#state.generation = (this.#state.generation + 1) & 0xff;
    if (this.#runs()) this.#interrupt(ISR_CONFIGURATION, this.#state.configurationVector);
  }

  #interrupt(cause: number, vector: number): void {
    if (this.#msiX.on) return this.#msiX.send(vector);
    this.#state.isr |= cause;
    this.function.setInterrupt(true);
  }

  /** The driver did what cannot be made sense of (2.1.2): nothing goes on until it resets the device. */
  #needReset(reason: string): void {
    this.#slot.log.once(`${this.name}-reset`, `${this.name}: ${reason}; waits for a reset`);
    this.#state.status |= DEVICE_NEEDS_RESET;
    if (this.#state.status & DRIVER_OK) this.#interrupt(ISR_CONFIGURATION, this.#state.configurationVector);
  }
}

/** `struct virtio_pci_cap` from its length byte on, for something in BAR 0. @param extra bytes that follow it */
function capabilityBody(type: number, offset: number, length: number, extra: number): Uint8Array {
  const body = new Uint8Array(14 + extra);
  const view = new DataView(body.buffer);
  body[0] = 2 + body.length;
  body[1] = type;
  body[2] = REGISTER_BAR;
  view.setUint32(6, offset, true);
  view.setUint32(10, length, true);
  return body;
}

/** The width of the register at `offset` in the common configuration, 0 if a driver writes none there. */
function commonWidth(offset: number): Width | 0 {
  switch (offset) {
    case DEVICE_STATUS:
      return 1;
    case CONFIG_MSIX_VECTOR:
    case QUEUE_SELECT:
    case QUEUE_SIZE:
    case QUEUE_MSIX_VECTOR:
    case QUEUE_ENABLE:
      return 2;
    case NUM_QUEUES:
    case CONFIG_GENERATION:
    case QUEUE_NOTIFY_OFF:
      return 0;
  }
  return offset % 4 === 0 && offset < COMMON_SIZE ? 4 : 0;
}

function bit(number: number): bigint {
  return 1n << BigInt(number);
}

function featureWord(features: bigint, select: number): number {
  return select > 1 ? 0 : Number((features >> BigInt(32 * select)) & 0xffffffffn);
}

function low(address: number): number {
  return address % 2 ** 32;
}

function high(address: number): number {
  return Math.floor(address / 2 ** 32);
}

function withLow(address: number, value: number): number {
  return high(address) * 2 ** 32 + value;
}

/** Addresses beyond 2^53 lose their lowest bits; they are outside RAM either way. */
function withHigh(address: number, value: number): number {
  return value * 2 ** 32 + low(address);
}
