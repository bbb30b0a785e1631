/**
 * The virtio entropy source, device type 4 (Virtual I/O Device specification 1.2, 5.4; Linux:
 * drivers/char/hw_random/virtio-rng.c). It fills the buffers that a driver offers with random bytes, at once.
 */
import type { Slot } from '../device.ts';
import { scatter } from './chains.ts';
import type { VirtioDevice } from './virtio-pci.ts';
import type { VirtQueue } from './virtqueue.ts';

/** Bytes for one buffer, at most. A device may fill less than the driver offers (5.4.6.2). */
const LARGEST_ANSWER = 4096;
/** After this many buffers for one notification the rest of the machine gets a turn. */
const TURN_BUFFERS = 16;

export class VirtioRng implements VirtioDevice {
  readonly name = 'virtio-rng';
  readonly type = 4;
  /** A device that fits no class. */
  readonly pciClass = 0x00ff00;
  readonly features = 0n;
  readonly queueSizes = [64];
  readonly configuration = new Uint8Array(0);
  readonly #slot: Slot;
  readonly #random: () => bigint;

  /** @param random 64 random bits a call */
  constructor(slot: Slot, random: () => bigint) {
    this.#slot = slot;
    this.#random = random;
  }

  start(): void {}

  serve(_index: number, queue: VirtQueue): boolean {
    for (let buffers = 0; buffers < TURN_BUFFERS; buffers++) {
      const chain = queue.pop();
      if (!chain) return false;
      const bytes = this.#bytes(Math.min(chain.writableLength, LARGEST_ANSWER));
      queue.push(chain.head, scatter(this.#slot.memory, chain, 0, bytes));
    }
    return true;
  }

  #bytes(length: number): Uint8Array {
    const words = new BigUint64Array(Math.ceil(length / 8)).map(() => BigInt.asUintN(64, this.#random()));
    return new Uint8Array(words.buffer, 0, length);
  }
}
