/**
 * VMware's paravirtual network adapter, VMXNET3 (Linux drivers/net/vmxnet3), revision 1: up to eight queues each way, all frames
 * come by the first. Checksums and the cutting of TCP are left undone where the driver and the network allow it.
 */
import type { Timer } from '../../host/clock.ts';
import type { Network, Offload } from '../../host/network.ts';
import type { UniformHandler, Width } from '../../memory/bus.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import { complete, FrameQueue } from '../../net/offload.ts';
import type { State } from '../../state/state.ts';
import type { Device, Slot } from '../device.ts';
import { MSI_X_BAR_SIZE, MsiX } from '../msi-x.ts';
import { PciFunction, type PciPlace } from '../pci.ts';
import * as at from './layout.ts';
import { deliver, type ReceiveQueue, receiveQueue } from './receive.ts';
import type { Statistics } from './statistics.ts';
import { sendNext, type TransmitQueue, transmitQueue } from './transmit.ts';

const IDENTITY = {
  vendor: 0x15ad,
  device: 0x07b0,
  revision: 1,
  class: 0x020000,
  subsystemVendor: 0x15ad,
  subsystem: 0x07b0,
};

const QUEUE_BAR = 0;
const DEVICE_BAR = 1;
const MSI_X_BAR = 2;
const BAR_SIZE = 0x1000;

/** Megabits a second in the upper half, and that the link is up. */
const LINK = (10_000 << 16) | 1;
const FAILED = 1;

/** Frames of one queue, before the rest of the machine gets a turn. */
const TURN_FRAMES = 256;
/** Bytes that wait for a driver that has no buffers. */
const WAITING_BYTES = 2 ** 22;
/** Where a receive queue counts what it had no buffer for. */
const OUT_OF_BUFFERS = 8;

const initial = (mac: Uint8Array) => ({
  mac: mac.slice(),
  /** Guest-physical: what the driver shares. */
  shared: 0,
  /** Of the latest command. */
  answer: 0,
  active: false,
  /** The driver takes frames that stand for several. */
  large: false,
  /** An interrupt that has been sent masks itself. */
  autoMask: false,
  masked: new Uint8Array(at.INTERRUPTS).fill(1),
  /** Interrupts that wait to be unmasked. */
  pending: new Uint8Array(at.INTERRUPTS),
  transmit: [] as TransmitQueue[],
  receive: [] as ReceiveQueue[],
  /** A bit for each transmit queue whose turn was put off. */
  later: 0,
});

export class Vmxnet3 implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly #slot: Slot;
  readonly #memory: GuestMemory;
  readonly #network: Network;
  readonly #mac: Uint8Array;
  readonly #waiting = new FrameQueue(WAITING_BYTES);
  readonly #msiX: MsiX;
  readonly #state: State<ReturnType<typeof initial>>;
  readonly #turn: Timer;

  /** @param id which adapter of the machine it is @param mac six bytes, what the driver finds */
  constructor(slot: Slot, network: Network, id: string, mac: Uint8Array, { address, wiring }: PciPlace) {
    this.name = `vmxnet3-${id}`;
    this.#slot = slot;
    this.#memory = slot.memory;
    this.#network = network;
    this.#mac = mac.slice();
    this.#state = slot.state(this.name, 1, () => initial(mac));
    this.#turn = slot.clock.timer(this.name, () => this.#resume());
    this.function = new PciFunction(slot, this.name, IDENTITY, wiring);
    this.#msiX = new MsiX(slot, this.function, at.INTERRUPTS, MSI_X_BAR);
    const queues = this.#registers(
      () => 0,
      (offset, value) => this.#writeQueue(offset, value),
    );
    const device = this.#registers(
      offset => this.#readDevice(offset),
      (offset, value) => this.#writeDevice(offset, value),
    );
    this.function.addBar(QUEUE_BAR, BAR_SIZE, address, queues);
    this.function.addBar(DEVICE_BAR, BAR_SIZE, address + BAR_SIZE, device);
    this.function.addBar(MSI_X_BAR, MSI_X_BAR_SIZE, address + 2 * BAR_SIZE, this.#msiX);
    this.function.attach();
    network.connect({
      clock: slot.clock,
      log: slot.log,
      receive: (frame, offload) => this.#receive(frame, offload),
    });
  }

  /** All registers are 32 bits wide. */
  #registers(read: (offset: number) => number, write: (offset: number, value: number) => void): UniformHandler {
    return {
      read: (offset: number, width: Width) => (width === 4 ? read(offset) >>> 0 : 0),
      write: (offset: number, width: Width, value: number) => {
        if (width === 4) write(offset, value >>> 0);
      },
    };
  }

  /** Power-on. The configuration space is the bus's to reset. */
  reset(): void {
    this.#msiX.reset();
    this.#state.initialise();
    this.#stop();
  }

  #stop(): void {
    this.#state.active = false;
    this.#state.pending.fill(0);
    this.#state.later = 0;
    this.#turn.off();
    this.#waiting.clear();
    this.function.setInterrupt(false);
  }

  // ---- Registers -------------------------------------------------------------------------------

  #writeQueue(offset: number, value: number): void {
    const index = (offset & 0x1ff) >> 3;
    if (offset & 7) return;
    if (offset < at.IMR + 8 * at.INTERRUPTS) this.#mask(offset >> 3, value);
    else if (offset >= at.TXPROD && offset < at.TXPROD + 8 * at.MOST_QUEUES) this.#transmit((offset - at.TXPROD) >> 3);
    else if (offset >= at.RXPROD && offset < at.RXPROD2 + 8 * at.MOST_QUEUES && index < at.MOST_QUEUES) this.#deliver();
  }

  #readDevice(offset: number): number {
    switch (offset) {
      case at.VRRS:
      case at.UVRS:
        return at.REVISION_1;
      case at.CMD:
        return this.#state.answer;
      case at.MACL:
        return halfOf(this.#state.mac, 0);
      case at.MACH:
        return halfOf(this.#state.mac, 4);
      case at.ICR: {
        const asserted = this.#state.pending[0];
        this.#state.pending[0] = 0;
        this.function.setInterrupt(false);
        return asserted;
      }
    }
    return 0;
  }

  #writeDevice(offset: number, value: number): void {
    const state = this.#state;
    switch (offset) {
      case at.DSAL:
        return this.#share(Math.floor(state.shared / 2 ** 32) * 2 ** 32 + value);
      case at.DSAH:
        return this.#share(value * 2 ** 32 + (state.shared % 2 ** 32));
      case at.CMD:
        state.answer = this.#command(value);
        return;
      case at.MACL:
        for (let byte = 0; byte < 4; byte++) state.mac[byte] = value >>> (8 * byte);
        return;
      case at.MACH:
        for (let byte = 0; byte < 2; byte++) state.mac[4 + byte] = value >>> (8 * byte);
        return;
      case at.ECR:
        if (!this.#shares()) return;
        return this.#memory.write32(state.shared + at.EVENTS, this.#memory.read32(state.shared + at.EVENTS) & ~value);
    }
  }

  /** Memory that is shared is to be activated anew. A driver takes it back by the address 0. */
  #share(address: number): void {
    if (this.#state.active) this.#stop();
    this.#state.shared = address;
  }

  /** The driver shares memory that it has. */
  #shares(): boolean {
    const { shared } = this.#state;
    return shared !== 0 && shared % 8 === 0 && this.#memory.has(shared, at.SHARED_BYTES);
  }

  // ---- Commands --------------------------------------------------------------------------------

  /** @returns what the driver reads next */
  #command(command: number): number {
    switch (command) {
      case at.ACTIVATE:
        this.#stop();
        this.#state.active = this.#shares() && this.#activate();
        return this.#state.active ? 0 : FAILED;
      case at.QUIESCE:
      case at.RESET:
        this.#stop();
        return 0;
      case at.GET_STATS:
        this.#tellStatistics();
        return 0;
      case at.GET_LINK:
        return LINK;
      case at.GET_PERM_MAC_LO:
        return halfOf(this.#mac, 0);
      case at.GET_PERM_MAC_HI:
        return halfOf(this.#mac, 4);
    }
    return 0;
  }

  /** Takes over what the driver shares. @returns false if that makes no sense */
  #activate(): boolean {
    const state = this.#state;
    const { shared } = state;
    const memory = this.#memory;
    const [transmit, receive] = [memory.read8(shared + at.TX_QUEUES), memory.read8(shared + at.RX_QUEUES)];
    const queues = memory.read32(shared + at.QUEUES) + memory.read32(shared + at.QUEUES + 4) * 2 ** 32;
    if (memory.read32(shared) !== at.MAGIC || transmit < 1 || transmit > at.MOST_QUEUES) return false;
    if (receive < 1 || receive > at.MOST_QUEUES) return false;
    if (queues % 8 !== 0 || !memory.has(queues, (transmit + receive) * at.QUEUE_BYTES)) return false;
    const descriptions = Array.from({ length: transmit + receive }, (_, index) => queues + index * at.QUEUE_BYTES);
    const outgoing = descriptions.slice(0, transmit).map(description => transmitQueue(memory, description));
    const incoming = descriptions.slice(transmit).map(description => receiveQueue(memory, description));
    if (outgoing.includes(undefined) || incoming.includes(undefined)) return false;
    state.transmit = outgoing as TransmitQueue[];
    state.receive = incoming as ReceiveQueue[];
    state.large = (memory.read32(shared + at.FEATURES) & at.FEATURE_LRO) !== 0;
    state.autoMask = memory.read8(shared + at.AUTO_MASK) !== 0;
    state.masked.fill(1);
    state.pending.fill(0);
    return true;
  }

  #tellStatistics(): void {
    const { active, transmit, receive } = this.#state;
    if (!active) return;
    const write = (description: number, statistics: Statistics) => {
      for (const [index, value] of statistics.entries())
        this.#memory.write64(description + at.QUEUE_STATISTICS + 8 * index, BigInt(value));
    };
    for (const { description, statistics } of receive) write(description, statistics);
    const first = receive[0].description - transmit.length * at.QUEUE_BYTES;
    for (const [index, { statistics }] of transmit.entries()) write(first + index * at.QUEUE_BYTES, statistics);
  }

  // ---- Interrupts ------------------------------------------------------------------------------

  #mask(index: number, value: number): void {
    const state = this.#state;
    state.masked[index] = value & 1;
    if (!state.masked[index] && state.pending[index]) this.#interrupt(index);
  }

  #interrupt(index: number): void {
    const state = this.#state;
    if (index >= at.INTERRUPTS) return;
    state.pending[index] = 1;
    const off = this.#memory.read32(state.shared + at.INTERRUPT_CONTROL) & at.DISABLE_ALL;
    if (off || state.masked[index]) return;
    if (state.autoMask) state.masked[index] = 1;
    if (this.#msiX.on) {
      state.pending[index] = 0;
      this.#msiX.send(index);
    } else if (index === 0) this.function.setInterrupt(true); // pending until ICR is read
  }

  // ---- Out of the guest ------------------------------------------------------------------------

  #transmit(number: number): void {
    const state = this.#state;
    const queue = state.transmit[number];
    // A turn that was put off will serve it.
    if (!state.active || !queue || state.later & (1 << number)) return;
    let tell = false;
    let frames = 0;
    for (; frames < TURN_FRAMES; frames++) {
      const sent = sendNext(this.#memory, this.#network, queue);
      if (!sent) break;
      tell ||= sent.completed;
    }
    if (tell) this.#interrupt(queue.interrupt);
    if (frames < TURN_FRAMES) return;
    state.later |= 1 << number;
    this.#turn.at(this.#slot.clock.now());
  }

  #resume(): void {
    const { later, transmit } = this.#state;
    this.#state.later = 0;
    for (const number of transmit.keys()) if (later & (1 << number)) this.#transmit(number);
  }

  // ---- Into the guest --------------------------------------------------------------------------

  #receive(frame: Uint8Array, offload: Offload | undefined): void {
    const { active, large, receive } = this.#state;
    if (!active) return;
    // What we complete is right: the driver need not look at it again.
    const whole = offload && { ...offload, segment: 0 };
    const frames =
      offload && offload.segment > 0 && large
        ? [{ bytes: frame, offload }]
        : complete(frame, offload).map(bytes => ({ bytes, offload: whole }));
    for (const each of frames)
      if (!this.#waiting.put(each.bytes, each.offload)) receive[0].statistics[OUT_OF_BUFFERS]++;
    this.#deliver();
  }

  /** Hands over what waits, as far as the driver has buffers; what then still waits makes it say when it has more. */
  #deliver(): void {
    const { active, receive } = this.#state;
    if (!active) return;
    const [queue] = receive;
    let delivered = false;
    for (let next = this.#waiting.first; next; next = this.#waiting.first) {
      if (!deliver(this.#memory, queue, next.bytes, next.offload, 0, receive.length)) break;
      this.#waiting.shift();
      delivered = true;
    }
    const waits = this.#waiting.first ? 1 : 0;
    const notify = queue.description + at.RX.notify;
    if (this.#memory.read8(notify) !== waits) this.#memory.write8(notify, waits);
    if (delivered) this.#interrupt(queue.interrupt);
  }
}

/** Up to four bytes of an address from `from` on, as a number. */
function halfOf(mac: Uint8Array, from: number): number {
  return mac.subarray(from, from + 4).reduce((sum, byte, index) => sum + byte * 2 ** (8 * index), 0);
}
