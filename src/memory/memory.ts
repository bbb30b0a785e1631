/**
 * The guest's physical RAM. It lies inside the engine's WebAssembly memory, `origin` bytes in, so that translated code
 * reaches it with one add; everybody else goes through this class, whose every access is checked against the end of
 * RAM.
 */
/** Bytes of `GuestMemory.notes` for each page of RAM. */
export const NOTES_A_PAGE = 20;

export class GuestMemory {
  /** Where guest-physical address 0 stands in `buffer`. */
  readonly origin: number;
  /** RAM size in bytes; a multiple of 4096. */
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /**
   * Called after every write made through this class with the range written (guest-physical address, length in bytes),
   * so that the engine can drop translations of code that a device or a hypervisor overwrote. Set by the engine.
   */
  onWrite: (address: number, length: number) => void = () => {};
  /**
   * What a hypervisor notes of pages, NOTES_A_PAGE bytes for each, where its fast paths find it, too (paravirt/fast-paths.ts).
   * 0 at the start; no part of a snapshot. In a buffer of its own unless the engine has a place for it.
   */
  get notes(): Uint8Array {
    return (this.#notes ??= new Uint8Array(NOTES_A_PAGE * (this.size / 4096)));
  }
  #notes: Uint8Array | undefined;

  constructor(buffer: ArrayBuffer | SharedArrayBuffer, origin: number, size: number, notes?: Uint8Array) {
    this.#notes = notes;
    this.origin = origin;
    this.size = size;
    this.bytes = new Uint8Array(buffer, origin, size);
    this.view = new DataView(buffer, origin, size);
  }

  /** True if `length` bytes at guest-physical `address` are all RAM. */
  has(address: number, length: number): boolean {
    return Number.isSafeInteger(address) && address >= 0 && length >= 0 && address + length <= this.size;
  }

  read8(address: number): number {
    return this.view.getUint8(address);
  }
  read16(address: number): number {
    return this.view.getUint16(address, true);
  }
  read32(address: number): number {
    return this.view.getUint32(address, true);
  }
  read64(address: number): bigint {
    return this.view.getBigUint64(address, true);
  }
  write8(address: number, value: number): void {
    this.view.setUint8(address, value);
    this.onWrite(address, 1);
  }
  write16(address: number, value: number): void {
    this.view.setUint16(address, value, true);
    this.onWrite(address, 2);
  }
  write32(address: number, value: number): void {
    this.view.setUint32(address, value, true);
    this.onWrite(address, 4);
  }
  write64(address: number, value: bigint): void {
    this.view.setBigUint64(address, value, true);
    this.onWrite(address, 8);
  }

  /** A copy of `length` bytes at `address`. @throws RangeError outside RAM. */
  copyOut(address: number, length: number): Uint8Array {
    this.#check(address, length);
    return this.bytes.slice(address, address + length);
  }

  /** Stores `data` at `address`. @throws RangeError outside RAM. */
  copyIn(address: number, data: Uint8Array): void {
    this.#check(address, data.length);
    this.bytes.set(data, address);
    this.onWrite(address, data.length);
  }

  fill(address: number, length: number, value = 0): void {
    this.#check(address, length);
    this.bytes.fill(value, address, address + length);
    this.onWrite(address, length);
  }

  #check(address: number, length: number): void {
    if (!this.has(address, length))
      throw new RangeError(`guest-physical 0x${address.toString(16)}+${length} is outside ${this.size} bytes of RAM`);
  }
}
