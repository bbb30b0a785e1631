/** Gathers bytes that come one by one, as a serial port sends them, into pieces worth a message or a system call. */

const CAPACITY = 1 << 16;

export interface Batch {
  add(data: Uint8Array): void;
  /** Delivers what is there now. */
  flush(): void;
}

/**
 * @param deliver gets each piece, as soon as there is much or at a `flush`; it may keep the array
 * @param soon is called when there is something again, with what delivers it; default: whoever made the batch flushes it
 */
export function createBatch(
  deliver: (data: Uint8Array<ArrayBuffer>) => void,
  soon: (flush: () => void) => void = () => {},
): Batch {
  const buffer = new Uint8Array(CAPACITY);
  let used = 0;
  let scheduled = false;
  const flush = () => {
    if (used === 0) return;
    const piece = buffer.slice(0, used);
    used = 0;
    deliver(piece);
  };
  return {
    flush,
    add(data) {
      if (data.length > CAPACITY - used) flush();
      if (data.length > CAPACITY) return deliver(data.slice());
      buffer.set(data, used);
      used += data.length;
      if (scheduled) return;
      scheduled = true;
      soon(() => {
        scheduled = false;
        flush();
      });
    },
  };
}
