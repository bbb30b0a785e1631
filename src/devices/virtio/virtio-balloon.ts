/**
 * The virtio memory balloon, device type 5 (Virtual I/O Device specification 1.2, 5.5; Linux:
 * drivers/virtio/virtio_balloon.c): the host says how many pages it wants, the driver hands over pages that the guest can
 * spare, or takes some back. What is handed over is cleared, so that a snapshot does without it.
 */
import type { State } from '../../state/state.ts';
import type { Slot } from '../device.ts';
import { gather } from './chains.ts';
import type { VirtioDevice, VirtioTransport } from './virtio-pci.ts';
import type { Chain, VirtQueue } from './virtqueue.ts';

/** The driver takes pages back by itself before the guest runs out of memory. */
const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 1n << 2n;

/** The other one is for pages that are taken back. */
const INFLATE_QUEUE = 0;

/** Pages of the balloon are of this size whatever the guest's are (5.5.6). */
const PAGE_SIZE = 4096;
/** Page numbers in one request. No driver sends more than a page full of them. */
const REQUEST_PAGES = 1024;
/** After this many requests for one notification the rest of the machine gets a turn. */
const TURN_REQUESTS = 16;

/** `struct virtio_balloon_config`: pages wanted and pages held, u32 each. The driver writes the second. */
const CONFIGURATION_SIZE = 8;
const ACTUAL = 4;

const initial = () => ({
  /** Pages that the host wants. */
  wanted: 0,
  /** Pages that the driver says it has handed over. */
  actual: 0,
});

export class VirtioBalloon implements VirtioDevice {
  readonly name = 'virtio-balloon';
  readonly type = 5;
  /** A device that fits no class. */
  readonly pciClass = 0x00ff00;
  readonly features = VIRTIO_BALLOON_F_DEFLATE_ON_OOM;
  readonly queueSizes = [64, 64];
  readonly #slot: Slot;
  readonly #state: State<ReturnType<typeof initial>>;
  readonly #wiring: { transport?: VirtioTransport } = {};

  constructor(slot: Slot) {
    this.#slot = slot;
    this.#state = slot.state(this.name, 1, initial);
  }

  get configuration(): Uint8Array {
    const bytes = new Uint8Array(CONFIGURATION_SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.#state.wanted, true);
    view.setUint32(ACTUAL, this.#state.actual, true);
    return bytes;
  }

  configure(offset: number, value: number): void {
    if (offset === ACTUAL) this.#state.actual = value;
  }

  attach(transport: VirtioTransport): void {
    this.#wiring.transport = transport;
  }

  start(): void {
    this.#state.actual = 0;
  }

  /**
   * The guest is to make do with `bytes` of RAM; with all there is, the balloon is to be empty.
   * @returns true: a driver that comes later finds the wish, too
   */
  requestMemory(bytes: number): boolean {
    this.#state.wanted = Math.max(0, Math.floor((this.#slot.memory.size - bytes) / PAGE_SIZE));
    this.#wiring.transport?.configurationChanged();
    return true;
  }

  serve(index: number, queue: VirtQueue): boolean {
    for (let requests = 0; requests < TURN_REQUESTS; requests++) {
      const chain = queue.pop();
      if (!chain) return false;
      if (chain.readableLength > 4 * REQUEST_PAGES) {
        queue.broken = `a request of ${chain.readableLength} bytes`;
        return false;
      }
      if (index === INFLATE_QUEUE) this.#clear(chain);
      queue.push(chain.head, 0);
    }
    return true;
  }

  /** The numbers of pages are u32. Those that are no RAM are nobody's. */
  #clear(chain: Chain): void {
    const { memory } = this.#slot;
    const bytes = new Uint8Array(chain.readableLength & ~3);
    gather(memory, chain, 0, bytes);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length; at += 4) {
      const address = view.getUint32(at, true) * PAGE_SIZE;
      if (memory.has(address, PAGE_SIZE)) memory.fill(address, PAGE_SIZE);
    }
  }
}
