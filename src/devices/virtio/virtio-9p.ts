/**
 * The virtio 9P transport, device type 9 (Linux: net/9p/trans_virtio.c, include/uapi/linux/virtio_9p.h): a folder that is
 * shared, whose server is folders/nine-p-server.ts. A request is a chain: its readable part is the message, its writable
 * part the room for the answer.
 */
import { HEADER_SIZE } from '../../folders/nine-p-messages.ts';
import { LARGEST_MESSAGE, NinePServer } from '../../folders/nine-p-server.ts';
import type { SharedFolder } from '../../host/back-ends.ts';
import { toBytes } from '../../host/file-system.ts';
import type { Slot } from '../device.ts';
import { gather, scatter } from './chains.ts';
import type { VirtioDevice, VirtioTransport } from './virtio-pci.ts';
import { Chain, VIRTQUEUE_MAX_SIZE, type VirtQueue } from './virtqueue.ts';

/** The configuration has the tag by which the guest mounts the folder. */
const VIRTIO_9P_MOUNT_TAG = 1n << 0n;
const QUEUE = 0;
/** The shortest answer there is: an error. */
const LEAST_ROOM = HEADER_SIZE + 4;
/** After this much work for one notification the rest of the machine gets a turn. */
const TURN_REQUESTS = VIRTQUEUE_MAX_SIZE;
const TURN_BYTES = 2 ** 24;

export class Virtio9p implements VirtioDevice {
  readonly name: string;
  readonly type = 9;
  /** Mass storage of another kind. */
  readonly pciClass = 0x018000;
  readonly features = VIRTIO_9P_MOUNT_TAG;
  readonly queueSizes = [VIRTQUEUE_MAX_SIZE];
  readonly configuration: Uint8Array;
  readonly #slot: Slot;
  readonly #server: NinePServer;
  readonly #wiring: { transport?: VirtioTransport } = {};

  /** @param id what tells it from the machine's other ones */
  constructor(slot: Slot, { tag, files }: SharedFolder, id: string) {
    this.name = `virtio-9p-${id}`;
    this.#slot = slot;
    const { clock, log } = slot;
    this.#server = new NinePServer(files, {
      now: () => clock.epoch + BigInt(Math.floor(clock.now())),
      onMistake: error => log.once(`${this.name}-mistake`, `${this.name}: a mistake of ours: ${error}`),
    });
    const bytes = toBytes(tag);
    this.configuration = new Uint8Array(2 + bytes.length);
    new DataView(this.configuration.buffer).setUint16(0, bytes.length, true);
    this.configuration.set(bytes, 2);
  }

  attach(transport: VirtioTransport): void {
    this.#wiring.transport = transport;
  }

  start(): void {
    this.#server.reset();
  }

  serve(_index: number, queue: VirtQueue): boolean {
    let bytes = 0;
    for (let requests = 0; requests < TURN_REQUESTS && bytes < TURN_BYTES; requests++) {
      const chain = queue.pop();
      if (!chain) return false;
      if (chain.readableLength < HEADER_SIZE || chain.readableLength > LARGEST_MESSAGE) {
        queue.broken = `a message of ${chain.readableLength} bytes`;
        return false;
      }
      if (chain.writableLength < LEAST_ROOM) {
        queue.broken = `a request with room for ${chain.writableLength} bytes`;
        return false;
      }
      bytes += chain.readableLength + chain.writableLength;
      this.#serve(chain, queue);
    }
    return true;
  }

  #serve(chain: Chain, queue: VirtQueue): void {
    const { memory } = this.#slot;
    const message = new Uint8Array(chain.readableLength);
    gather(memory, chain, 0, message);
    // Its size is what it says; what follows is padding.
    const size = new DataView(message.buffer).getUint32(0, true);
    const serving = { atOnce: true, kept: undefined as Chain | undefined };
    const answer = (reply: Uint8Array) => {
      if (serving.atOnce) {
        queue.push(chain.head, scatter(memory, chain, 0, reply));
        serving.kept = chain;
        return;
      }
      // The driver may have reset the device meanwhile; then the server has forgotten the request, too.
      const running = this.#wiring.transport?.queue(QUEUE);
      if (!running || !serving.kept) return;
      running.push(serving.kept.head, scatter(memory, serving.kept, 0, reply));
      this.#wiring.transport!.used(QUEUE);
    };
    const whole = size >= HEADER_SIZE && size <= message.length ? message.subarray(0, size) : message;
    this.#server.request(whole, chain.writableLength, answer);
    serving.atOnce = false;
    // The queue's chain is used again for the next request.
    serving.kept ??= copyOf(chain);
  }
}

function copyOf(chain: Chain): Chain {
  const copy = new Chain();
  copy.clear(chain.head);
  copy.count = chain.count;
  copy.readable = chain.readable;
  copy.readableLength = chain.readableLength;
  copy.writableLength = chain.writableLength;
  copy.address.set(chain.address);
  copy.length.set(chain.length);
  return copy;
}
