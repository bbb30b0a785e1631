/** Tables of a qcow2 image, cluster by cluster in memory: what is changed is in the file at once. */
import type { ImageFile } from '../host/image-file.ts';

/** A table, or a cluster of one. Numbers are big-endian. */
export interface Table {
  /** Where it is in the file. */
  readonly offset: number;
  readonly view: DataView;
}

export function readTable(file: ImageFile, offset: number, bytes: number): Table {
  const content = new Uint8Array(bytes);
  file.read(offset, content);
  return { offset, view: new DataView(content.buffer) };
}

export function setEntry(file: ImageFile, { offset, view }: Table, index: number, value: bigint): void {
  view.setBigUint64(8 * index, value);
  file.write(offset + 8 * index, new Uint8Array(view.buffer, view.byteOffset + 8 * index, 8));
}

/** The tables that have been used last. */
export class TableCache {
  readonly #file: ImageFile;
  readonly #bytes: number;
  readonly #most: number;
  readonly #tables = new Map<number, Table>();

  /** @param bytes of each @param most of them */
  constructor(file: ImageFile, bytes: number, most: number) {
    this.#file = file;
    this.#bytes = bytes;
    this.#most = most;
  }

  at(offset: number): Table {
    const found = this.#tables.get(offset);
    if (found) {
      // The first in the map is the one that has not been used for longest.
      this.#tables.delete(offset);
      this.#tables.set(offset, found);
      return found;
    }
    return this.#keep(readTable(this.#file, offset, this.#bytes));
  }

  /** A new table, which is written. */
  put(offset: number, content: Uint8Array<ArrayBuffer>): Table {
    this.#file.write(offset, content);
    return this.#keep({ offset, view: new DataView(content.buffer, content.byteOffset, content.byteLength) });
  }

  forget(offset: number): void {
    this.#tables.delete(offset);
  }

  #keep(table: Table): Table {
    this.#tables.set(table.offset, table);
    const [oldest] = this.#tables.keys();
    if (this.#tables.size > this.#most) this.#tables.delete(oldest!);
    return table;
  }
}
