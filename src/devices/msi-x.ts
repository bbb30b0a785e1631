/**
 * MSI-X (PCI Local Bus specification 3.0, 6.8.2): a capability, a table of messages in a BAR, and a pending bit for
 * each message that is masked when it should go.
 */
import type { BusHandler, Width } from '../memory/bus.ts';
import type { State } from '../state/state.ts';
import type { Slot } from './device.ts';
import type { PciFunction } from './pci.ts';

const CAPABILITY_ID = 0x11;
const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;
const ENTRY_SIZE = 16;
/** The local APICs' window, by its upper bits: the only addresses that messages go to here. */
const MESSAGE_WINDOW = 0xfee;

/** In the BAR: the table at its start, the pending bits in its second half. */
export const MSI_X_BAR_SIZE = 0x1000;
const PENDING = 0x800;
const MAX_VECTORS = PENDING / ENTRY_SIZE;

const initial = (vectors: number) => ({
  /** Address low, address high, data, control (bit 0: masked) for each vector. */
  table: Uint32Array.from({ length: vectors * 4 }, (_, word) => (word % 4 === 3 ? 1 : 0)),
  /** A bit for each vector that waits to be unmasked. */
  pending: new Uint32Array(Math.ceil(vectors / 32)),
  on: false,
  /** All vectors are masked. */
  masked: false,
});

export class MsiX implements BusHandler {
  readonly #slot: Slot;
  readonly #function: PciFunction;
  readonly #vectors: number;
  readonly #state: State<ReturnType<typeof initial>>;
  /** Where the capability's control word is in configuration space. */
  readonly #control: number;

  /**
   * @param vectors 1 to 128
   * @param bar which BAR this handler is behind
   */
  constructor(slot: Slot, owner: PciFunction, vectors: number, bar: number) {
    if (vectors < 1 || vectors > MAX_VECTORS) throw new Error(`${vectors} MSI-X vectors`);
    this.#slot = slot;
    this.#function = owner;
    this.#vectors = vectors;
    this.#state = slot.state(`${owner.name}/msi-x`, 1, () => initial(vectors));
    const body = new Uint8Array(10);
    const view = new DataView(body.buffer);
    view.setUint16(0, vectors - 1, true);
    view.setUint32(2, bar, true);
    view.setUint32(6, PENDING | bar, true);
    const writable = new Uint8Array(body.length);
    writable[1] = (ENABLE | FUNCTION_MASK) >> 8;
    const at = owner.addCapability(CAPABILITY_ID, body, writable, { afterWrite: () => this.#update() });
    this.#control = at + 2;
  }

  get on(): boolean {
    return this.#state.on;
  }

  reset(): void {
    this.#state.initialise();
  }

  /** Sends message `vector`, or keeps it until it is unmasked. A vector that does not exist is ignored. */
  send(vector: number): void {
    if (!this.#state.on || vector >= this.#vectors) return;
    if (this.#state.masked || this.#state.table[vector * 4 + 3] & 1) {
      this.#state.pending[vector >> 5] |= 1 << (vector & 31);
      return;
    }
    const address = this.#state.table[vector * 4];
    if (address >>> 20 === MESSAGE_WINDOW && this.#state.table[vector * 4 + 1] === 0) {
      this.#slot.message(address, this.#state.table[vector * 4 + 2]);
    } else {
      this.#slot.log.once(`msi-x-${vector}`, `MSI-X message to 0x${address.toString(16)}: not an interrupt, dropped`);
    }
  }

  /** The capability's control word was written. */
  #update(): void {
    const control = this.#function.config[this.#control] | (this.#function.config[this.#control + 1] << 8);
    this.#state.on = (control & ENABLE) !== 0;
    this.#state.masked = (control & FUNCTION_MASK) !== 0;
    this.#function.messagesOn = this.#state.on;
    this.#sendPending();
  }

  #sendPending(): void {
    if (!this.#state.on || this.#state.masked) return;
    for (let vector = 0; vector < this.#vectors; vector++) {
      const bit = 1 << (vector & 31);
      if (!(this.#state.pending[vector >> 5] & bit) || this.#state.table[vector * 4 + 3] & 1) continue;
      this.#state.pending[vector >> 5] &= ~bit;
      this.send(vector);
    }
  }

  read(offset: number, width: Width): number {
    const word = offset >> 2;
    const value =
      word < this.#state.table.length
        ? this.#state.table[word]
        : offset >= PENDING && word - PENDING / 4 < this.#state.pending.length
          ? this.#state.pending[word - PENDING / 4]
          : 0;
    const shifted = value >>> (8 * (offset & 3));
    return width === 1 ? shifted & 0xff : width === 2 ? shifted & 0xffff : shifted;
  }

  write(offset: number, width: Width, value: number): void {
    const word = offset >> 2;
    if (width !== 4 || offset & 3 || word >= this.#state.table.length) return;
    this.#state.table[word] = (word & 3) === 3 ? value & 1 : (word & 3) === 0 ? value & ~3 : value;
    if ((word & 3) === 3) this.#sendPending();
  }
}
