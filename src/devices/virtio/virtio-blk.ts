/**
 * The virtio block device (Virtual I/O Device specification 1.2, 5.2) over a disk image. A request is served at once
 * and completely; what the guest has been told is flushed is on the host's storage.
 */
import type { Disk } from '../../host/disk.ts';
import type { Log } from '../../host/log.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { State, States } from '../../state/state.ts';
import { gather, scatter } from './chains.ts';
import type { VirtioDevice } from './virtio-pci.ts';
import type { Chain, VirtQueue } from './virtqueue.ts';
import { VIRTQUEUE_MAX_SIZE } from './virtqueue.ts';

export const VIRTIO_BLK_F_SIZE_MAX = 1;
export const VIRTIO_BLK_F_SEG_MAX = 2;
export const VIRTIO_BLK_F_RO = 5;
export const VIRTIO_BLK_F_BLK_SIZE = 6;
export const VIRTIO_BLK_F_FLUSH = 9;
export const VIRTIO_BLK_F_DISCARD = 13;
export const VIRTIO_BLK_F_WRITE_ZEROES = 14;

/** Request types (5.2.6). */
const VIRTIO_BLK_T_IN = 0;
const VIRTIO_BLK_T_OUT = 1;
const VIRTIO_BLK_T_FLUSH = 4;
const VIRTIO_BLK_T_GET_ID = 8;
const VIRTIO_BLK_T_DISCARD = 11;
const VIRTIO_BLK_T_WRITE_ZEROES = 13;

const VIRTIO_BLK_S_OK = 0;
const VIRTIO_BLK_S_IOERR = 1;
const VIRTIO_BLK_S_UNSUPP = 2;

const SECTOR = 512;
const HEADER_SIZE = 16;
const ID_SIZE = 20;
/** A range of a discard or write-zeroes request: sector (64 bits), sectors, flags. */
const RANGE_SIZE = 16;
const RANGE_UNMAP = 1;

/** The header and the status byte take a descriptor each. */
const SEGMENTS = VIRTQUEUE_MAX_SIZE - 2;
const SEGMENT_BYTES = 2 ** 20;
const REQUEST_BYTES = SEGMENTS * SEGMENT_BYTES;
const RANGES = 16;
/** The host may have to write the zeros that both make of a range, so 32 MiB at most. */
const CLEAR_SECTORS = 2 ** 16;
/** After this much work for one notification the rest of the machine gets a turn. */
const TURN_REQUESTS = VIRTQUEUE_MAX_SIZE;
const TURN_BYTES = 2 ** 26;

const ZEROS = new Uint8Array(2 ** 16);

const initial = () => ({
  /** A driver that does not know of flushing gets every write on stable storage before it is told (5.2.6.2). */
  writeThrough: false,
  /** Bytes moved or cleared in this turn. */
  work: 0,
});

export class VirtioBlk implements VirtioDevice {
  readonly name: string;
  readonly type = 2;
  /** Mass storage, SCSI. */
  readonly pciClass = 0x010000;
  readonly features: bigint;
  readonly queueSizes = [VIRTQUEUE_MAX_SIZE];
  readonly configuration: Uint8Array;

  readonly #disk: Disk;
  readonly #memory: GuestMemory;
  readonly #log: Log;
  readonly #id = new Uint8Array(ID_SIZE);
  readonly #state: State<ReturnType<typeof initial>>;
  readonly #header = new Uint8Array(HEADER_SIZE);
  readonly #headerView = new DataView(this.#header.buffer);
  readonly #ranges = new Uint8Array(RANGES * RANGE_SIZE);
  readonly #rangesView = new DataView(this.#ranges.buffer);

  /** @param id the serial number that the guest reads, at most 20 bytes of ASCII */
  constructor(states: States, disk: Disk, memory: GuestMemory, log: Log, id: string) {
    this.name = `virtio-blk-${id}`;
    this.#state = states.state(this.name, 1, initial);
    this.#disk = disk;
    this.#memory = memory;
    this.#log = log;
    for (let i = 0; i < Math.min(id.length, ID_SIZE); i++) this.#id[i] = id.charCodeAt(i) & 0x7f;
    const bits = [VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH];
    if (disk.readOnly) bits.push(VIRTIO_BLK_F_RO);
    else bits.push(VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES);
    this.features = bits.reduce((sum, number) => sum | (1n << BigInt(number)), 0n);
    this.configuration = describe(disk);
  }

  start(features: bigint): void {
    this.#state.writeThrough = !(features & (1n << BigInt(VIRTIO_BLK_F_FLUSH)));
  }

  serve(_index: number, queue: VirtQueue): boolean {
    this.#state.work = 0;
    for (let requests = 0; requests < TURN_REQUESTS && this.#state.work < TURN_BYTES; requests++) {
      const chain = queue.pop();
      if (!chain) return false;
      if (chain.writableLength < 1) {
        queue.broken = 'a request without room for its status';
        return false;
      }
      const status = this.#execute(chain);
      scatter(this.#memory, chain, chain.writableLength - 1, Uint8Array.of(status));
      // What was read counts as written to the guest, all of it or nothing.
      queue.push(chain.head, status === VIRTIO_BLK_S_OK ? this.#filled(chain) + 1 : 1);
    }
    return true;
  }

  #execute(chain: Chain): number {
    if (chain.readableLength < HEADER_SIZE) return VIRTIO_BLK_S_IOERR;
    gather(this.#memory, chain, 0, this.#header);
    try {
      return this.#dispatch(chain, this.#headerView.getUint32(0, true), this.#headerView.getBigUint64(8, true));
    } catch (error) {
      // The host could not: the guest sees a bad disk, the person in front of it the reason.
      this.#log.once(`${this.name}-host`, `${this.name}: ${error instanceof Error ? error.message : error}`);
      return VIRTIO_BLK_S_IOERR;
    }
  }

  #dispatch(chain: Chain, type: number, sector: bigint): number {
    switch (type) {
      case VIRTIO_BLK_T_IN:
        return this.#transfer(chain, sector, chain.writableLength - 1, false);
      case VIRTIO_BLK_T_OUT:
        return this.#transfer(chain, sector, chain.readableLength - HEADER_SIZE, true);
      case VIRTIO_BLK_T_FLUSH:
        this.#disk.flush();
        return VIRTIO_BLK_S_OK;
      case VIRTIO_BLK_T_GET_ID:
        scatter(this.#memory, chain, 0, this.#id.subarray(0, Math.min(ID_SIZE, chain.writableLength - 1)));
        return VIRTIO_BLK_S_OK;
      case VIRTIO_BLK_T_DISCARD:
      case VIRTIO_BLK_T_WRITE_ZEROES:
        return this.#clear(chain, type === VIRTIO_BLK_T_DISCARD);
      default:
        return VIRTIO_BLK_S_UNSUPP;
    }
  }

  /** Bytes that a successful request put into the guest's buffers, without the status. */
  #filled(chain: Chain): number {
    const type = this.#headerView.getUint32(0, true);
    if (type === VIRTIO_BLK_T_IN) return chain.writableLength - 1;
    return type === VIRTIO_BLK_T_GET_ID ? Math.min(ID_SIZE, chain.writableLength - 1) : 0;
  }

  /** True if the range lies on the disk. */
  #fits(sector: bigint, bytes: number): boolean {
    return sector * BigInt(SECTOR) + BigInt(bytes) <= BigInt(this.#disk.size);
  }

  #transfer(chain: Chain, sector: bigint, bytes: number, toDisk: boolean): number {
    if (toDisk && this.#disk.readOnly) return VIRTIO_BLK_S_IOERR;
    if (bytes % SECTOR || bytes > REQUEST_BYTES || !this.#fits(sector, bytes)) return VIRTIO_BLK_S_IOERR;
    this.#state.work += bytes;
    const memory = this.#memory;
    let at = Number(sector) * SECTOR;
    let skip = toDisk ? HEADER_SIZE : 0;
    let left = bytes;
    const last = toDisk ? chain.readable : chain.count;
    for (let i = toDisk ? 0 : chain.readable; i < last && left > 0; i++) {
      const skipped = Math.min(skip, chain.length[i]);
      skip -= skipped;
      const length = Math.min(left, chain.length[i] - skipped);
      if (length === 0) continue;
      const address = chain.address[i] + skipped;
      const guest = memory.bytes.subarray(address, address + length);
      if (toDisk) {
        this.#disk.write(at, guest);
      } else {
        this.#disk.read(at, guest);
        memory.onWrite(address, length);
      }
      at += length;
      left -= length;
    }
    if (toDisk && this.#state.writeThrough) this.#disk.flush();
    return VIRTIO_BLK_S_OK;
  }

  /** Discard and write-zeroes: all ranges are checked before the first is touched. */
  #clear(chain: Chain, discard: boolean): number {
    const bytes = chain.readableLength - HEADER_SIZE;
    if (this.#disk.readOnly || bytes === 0 || bytes % RANGE_SIZE || bytes > this.#ranges.length) {
      return VIRTIO_BLK_S_IOERR;
    }
    gather(this.#memory, chain, HEADER_SIZE, this.#ranges.subarray(0, bytes));
    const view = this.#rangesView;
    for (let at = 0; at < bytes; at += RANGE_SIZE) {
      const sectors = view.getUint32(at + 8, true);
      // Discarding always unmaps, so the flag is reserved there (5.2.6.2).
      if (view.getUint32(at + 12, true) & (discard ? -1 : ~RANGE_UNMAP)) return VIRTIO_BLK_S_UNSUPP;
      if (sectors > CLEAR_SECTORS || !this.#fits(view.getBigUint64(at, true), sectors * SECTOR))
        return VIRTIO_BLK_S_IOERR;
    }
    for (let at = 0; at < bytes; at += RANGE_SIZE) {
      const start = Number(view.getBigUint64(at, true)) * SECTOR;
      const length = view.getUint32(at + 8, true) * SECTOR;
      if (length === 0) continue;
      this.#state.work += length;
      if (discard || view.getUint32(at + 12, true) & RANGE_UNMAP) this.#disk.discard(start, length);
      else this.#writeZeros(start, length);
    }
    if (this.#state.writeThrough) this.#disk.flush();
    return VIRTIO_BLK_S_OK;
  }

  #writeZeros(start: number, length: number): void {
    for (let done = 0; done < length; done += ZEROS.length) {
      this.#disk.write(start + done, ZEROS.subarray(0, Math.min(ZEROS.length, length - done)));
    }
  }
}

/** `struct virtio_blk_config` (5.2.4). */
function describe(disk: Disk): Uint8Array {
  const bytes = new Uint8Array(60);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(Math.floor(disk.size / SECTOR)), true);
  view.setUint32(8, SEGMENT_BYTES, true);
  view.setUint32(12, SEGMENTS, true);
  view.setUint32(20, SECTOR, true);
  view.setUint16(34, 1, true);
  if (disk.readOnly) return bytes;
  view.setUint32(36, CLEAR_SECTORS, true);
  view.setUint32(40, RANGES, true);
  view.setUint32(44, 1, true);
  view.setUint32(48, CLEAR_SECTORS, true);
  view.setUint32(52, RANGES, true);
  bytes[56] = 1; // write-zeroes may unmap
  return bytes;
}
