/** For tests: the driver's half of a virtio device, with one chain after the other in rings of its own and no transport between. */
import type { testSlot } from '../test-slot.ts';
import type { VirtioDevice } from './virtio-pci.ts';
import { VirtQueue } from './virtqueue.ts';

/** Entries of each ring. */
const SIZE = 64;
/** Of queue n: descriptors, available ring and used ring, a page each, from page 3 n + 1 on. */
const PAGE = 4096;
/** Where buffers are taken from. */
const BUFFERS = 0x40000;
const NEXT = 1;
const WRITE = 2;

/** A buffer to read, or room to write. */
export type Piece = Uint8Array | number;

/** Starts `device` with all its features but those of `without`. The RAM of `machine` must be 512 KiB or more. */
export function virtioDriver({ slot, memory }: ReturnType<typeof testSlot>, device: VirtioDevice, without = 0n) {
  const queues = device.queueSizes.map((maximum, index) => {
    const queue = new VirtQueue(slot, `test-queue/${index}`, memory, maximum);
    const first = (3 * index + 1) * PAGE;
    const size = Math.min(SIZE, maximum);
    Object.assign(queue.state, { size, descriptors: first, available: first + PAGE, used: first + 2 * PAGE });
    queue.enable();
    return queue;
  });
  /** How often the driver was interrupted, by queue. */
  const told = queues.map(() => 0);
  /** Changes of the configuration that the driver was told of, and where the next buffer is. */
  const counts = { changes: 0, next: BUFFERS };
  device.attach?.({
    queue: index => (queues[index]?.enabled && queues[index].broken === undefined ? queues[index] : undefined),
    used(index) {
      if (queues[index].settle()) told[index]++;
    },
    configurationChanged: () => void counts.changes++,
  });
  device.start(device.features & ~without);
  const rooms = queues.map((): { address: number; length: number }[][] => []);
  const seen = queues.map(() => 0);
  const places = queues.map(() => 0);
  /** Serves queue `index` until nothing more is put off. */
  const serve = (index: number) => {
    for (let turns = 0; turns < 1000 && device.serve(index, queues[index]); turns++);
    queues[index].settle();
  };
  return {
    queues,
    told,
    changes: () => counts.changes,
    serve,
    /** Puts a chain into queue `index`, and has it served unless it is to wait. */
    offer(index: number, pieces: readonly Piece[], wait = false) {
      const { state } = queues[index];
      const head = places[index];
      const room: { address: number; length: number }[] = [];
      for (const [number, piece] of pieces.entries()) {
        const length = typeof piece === 'number' ? piece : piece.length;
        if (typeof piece !== 'number') memory.copyIn(counts.next, piece);
        else room.push({ address: counts.next, length });
        const at = state.descriptors + 16 * ((head + number) % state.size);
        memory.write64(at, BigInt(counts.next));
        memory.write32(at + 8, length);
        memory.write16(at + 12, (number < pieces.length - 1 ? NEXT : 0) | (typeof piece === 'number' ? WRITE : 0));
        memory.write16(at + 14, (head + number + 1) % state.size);
        counts.next += length;
      }
      rooms[index][head] = room;
      places[index] = (head + pieces.length) % state.size;
      const sent = memory.read16(state.available + 2);
      memory.write16(state.available + 4 + 2 * (sent % state.size), head);
      memory.write16(state.available + 2, (sent + 1) & 0xffff);
      if (!wait) serve(index);
    },
    /** What queue `index` has given back since the last time: the bytes written. */
    used(index: number): Uint8Array[] {
      const { state } = queues[index];
      const all: Uint8Array[] = [];
      for (; seen[index] !== memory.read16(state.used + 2); seen[index] = (seen[index] + 1) & 0xffff) {
        const at = state.used + 4 + 8 * (seen[index] % state.size);
        const [head, length] = [memory.read32(at), memory.read32(at + 4)];
        const bytes = rooms[index][head].flatMap(({ address, length: size }) => [...memory.copyOut(address, size)]);
        all.push(Uint8Array.from(bytes.slice(0, length)));
      }
      return all;
    },
  };
}
