/**
 * A SCSI disk over a disk image: the commands of SPC-4 and SBC-3 that drivers send to one. It has no state: a command is
 * done, sense data included, when `execute` returns, and what SYNCHRONIZE CACHE returned from is on the host's storage.
 */
import type { Disk } from '../../host/disk.ts';
import type { Log } from '../../host/log.ts';
import type { GuestBuffer } from '../guest-buffer.ts';
import * as scsi from './commands.ts';
import { check, good, type ScsiAnswer } from './commands.ts';
import {
  capacity10,
  capacity16,
  type Identity,
  inquiryData,
  MOST_BLOCKS_CLEARED,
  MOST_UNMAP_DESCRIPTORS,
  modePages,
  vitalProductData,
} from './describe.ts';
import { SECTOR_SIZE } from './sector.ts';

/** Bits of a command's second byte. */
const ENABLE_VITAL_PRODUCT_DATA = 0x01;
const FORCE_UNIT_ACCESS = 0x08;
const WRITE_SAME_UNMAP = 0x08;
const NO_DATA_OUT_BUFFER = 0x01;

/** Device-specific parameter of mode parameter headers: write protection, and that FUA works. */
const WRITE_PROTECT = 0x80;
const DPO_AND_FUA = 0x10;

const UNMAP_HEADER = 8;
const UNMAP_DESCRIPTOR = 16;
/** WRITE SAME writes so many bytes at once. */
const PATTERN_BYTES = 2 ** 16;

/** Logical block address and length of a command in blocks. */
interface Extent {
  block: bigint;
  blocks: number;
}

/** How commands of 6, 10, 12 and 16 bytes hold their extent. */
const extents = {
  6: (cdb: DataView): Extent => ({
    block: BigInt(cdb.getUint32(0) & 0x1fffff),
    blocks: cdb.getUint8(4) || 256,
  }),
  10: (cdb: DataView): Extent => ({ block: BigInt(cdb.getUint32(2)), blocks: cdb.getUint16(7) }),
  12: (cdb: DataView): Extent => ({ block: BigInt(cdb.getUint32(2)), blocks: cdb.getUint32(6) }),
  16: (cdb: DataView): Extent => ({ block: cdb.getBigUint64(2), blocks: cdb.getUint32(10) }),
};

type Command = (disk: ScsiDisk, cdb: DataView, buffer: GuestBuffer) => ScsiAnswer;

/** The commands, by operation code. */
const COMMANDS: ReadonlyMap<number, Command> = new Map<number, Command>([
  [scsi.TEST_UNIT_READY, () => good()],
  [scsi.REQUEST_SENSE, (disk, cdb, buffer) => disk.answer(buffer, scsi.senseData(scsi.NO_SENSE), cdb.getUint8(4))],
  [scsi.INQUIRY, (disk, cdb, buffer) => disk.inquire(cdb, buffer)],
  [scsi.MODE_SENSE_6, (disk, cdb, buffer) => disk.modeSense(cdb, buffer, 4, cdb.getUint8(4))],
  [scsi.MODE_SENSE_10, (disk, cdb, buffer) => disk.modeSense(cdb, buffer, 8, cdb.getUint16(7))],
  [scsi.START_STOP_UNIT, disk => disk.synchronize()],
  [scsi.READ_CAPACITY_10, (disk, _, buffer) => disk.answer(buffer, capacity10(disk.blocks), 8)],
  [scsi.SERVICE_ACTION_IN_16, (disk, cdb, buffer) => disk.serviceActionIn(cdb, buffer)],
  [scsi.SYNCHRONIZE_CACHE_10, disk => disk.synchronize()],
  [scsi.SYNCHRONIZE_CACHE_16, disk => disk.synchronize()],
  [scsi.UNMAP, (disk, cdb, buffer) => disk.unmap(cdb, buffer)],
  [scsi.READ_6, (disk, cdb, buffer) => disk.read(extents[6](cdb), buffer)],
  [scsi.READ_10, (disk, cdb, buffer) => disk.read(extents[10](cdb), buffer)],
  [scsi.READ_12, (disk, cdb, buffer) => disk.read(extents[12](cdb), buffer)],
  [scsi.READ_16, (disk, cdb, buffer) => disk.read(extents[16](cdb), buffer)],
  [scsi.WRITE_6, (disk, cdb, buffer) => disk.write(extents[6](cdb), false, buffer)],
  [scsi.WRITE_10, (disk, cdb, buffer) => disk.write(extents[10](cdb), forced(cdb), buffer)],
  [scsi.WRITE_12, (disk, cdb, buffer) => disk.write(extents[12](cdb), forced(cdb), buffer)],
  [scsi.WRITE_16, (disk, cdb, buffer) => disk.write(extents[16](cdb), forced(cdb), buffer)],
  [scsi.WRITE_SAME_10, (disk, cdb, buffer) => disk.writeSame(extents[10](cdb), cdb, buffer)],
  [scsi.WRITE_SAME_16, (disk, cdb, buffer) => disk.writeSame(extents[16](cdb), cdb, buffer)],
]);

const forced = (cdb: DataView): boolean => (cdb.getUint8(1) & FORCE_UNIT_ACCESS) !== 0;

export class ScsiDisk {
  readonly identity: Identity;
  /** Logical blocks of SECTOR_SIZE. */
  readonly blocks: number;
  readonly #disk: Disk;
  readonly #log: Log;

  constructor(disk: Disk, identity: Identity, log: Log) {
    this.#disk = disk;
    this.identity = identity;
    this.#log = log;
    this.blocks = Math.floor(disk.size / SECTOR_SIZE);
  }

  /**
   * Does what a command says.
   * @param cdb the command, followed by zeros to `CDB_SIZE`
   * @param buffer data in or out, as the command has it; of length 0 where the initiator has none
   */
  execute(cdb: Uint8Array, buffer: GuestBuffer): ScsiAnswer {
    const command = COMMANDS.get(cdb[0]);
    if (!command) return check(scsi.INVALID_COMMAND_OPERATION_CODE);
    return command(this, new DataView(cdb.buffer, cdb.byteOffset, scsi.CDB_SIZE), buffer);
  }

  /** Data in, cut to the length that the initiator allows. */
  answer(buffer: GuestBuffer, data: Uint8Array, allowed: number): ScsiAnswer {
    return good(buffer.copyIn(0, data.subarray(0, allowed)));
  }

  inquire(cdb: DataView, buffer: GuestBuffer): ScsiAnswer {
    const page = cdb.getUint8(2);
    const allowed = cdb.getUint16(3);
    if (!(cdb.getUint8(1) & ENABLE_VITAL_PRODUCT_DATA))
      return page === 0 ? this.answer(buffer, inquiryData(this.identity), allowed) : check(scsi.INVALID_FIELD_IN_CDB);
    const data = vitalProductData(page, this.identity, this.#disk.readOnly);
    return data ? this.answer(buffer, data, allowed) : check(scsi.INVALID_FIELD_IN_CDB);
  }

  /** @param header the size of the mode parameter header, 4 or 8 bytes */
  modeSense(cdb: DataView, buffer: GuestBuffer, header: 4 | 8, allowed: number): ScsiAnswer {
    const control = cdb.getUint8(2) >> 6;
    if (control === 3) return check(scsi.SAVING_PARAMETERS_NOT_SUPPORTED);
    const pages = modePages(cdb.getUint8(2) & 0x3f, control === 1);
    if (!pages || cdb.getUint8(3) !== 0) return check(scsi.INVALID_FIELD_IN_CDB);
    const bytes = new Uint8Array(header + pages.length);
    bytes.set(pages, header);
    const parameter = DPO_AND_FUA | (this.#disk.readOnly ? WRITE_PROTECT : 0);
    // The length does not count itself.
    if (header === 4) bytes.set([bytes.length - 1, 0, parameter]);
    else bytes.set([0, bytes.length - 2, 0, parameter]);
    return this.answer(buffer, bytes, allowed);
  }

  serviceActionIn(cdb: DataView, buffer: GuestBuffer): ScsiAnswer {
    if ((cdb.getUint8(1) & 0x1f) !== scsi.READ_CAPACITY_16) return check(scsi.INVALID_FIELD_IN_CDB);
    return this.answer(buffer, capacity16(this.blocks, this.#disk.readOnly), cdb.getUint32(10));
  }

  synchronize(): ScsiAnswer {
    return this.#byHost(scsi.WRITE_ERROR, () => {
      this.#disk.flush();
      return good();
    });
  }

  read({ block, blocks }: Extent, buffer: GuestBuffer): ScsiAnswer {
    const bytes = blocks * SECTOR_SIZE;
    if (!this.#has(block, blocks)) return check(scsi.LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);
    if (bytes > buffer.length) return check(scsi.INVALID_FIELD_IN_CDB);
    const start = Number(block) * SECTOR_SIZE;
    return this.#byHost(scsi.UNRECOVERED_READ_ERROR, () => {
      buffer.forEach(0, bytes, true, (piece, done) => this.#disk.read(start + done, piece));
      return good(bytes);
    });
  }

  write({ block, blocks }: Extent, force: boolean, buffer: GuestBuffer): ScsiAnswer {
    const bytes = blocks * SECTOR_SIZE;
    if (this.#disk.readOnly) return check(scsi.WRITE_PROTECTED);
    if (!this.#has(block, blocks)) return check(scsi.LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);
    if (bytes > buffer.length) return check(scsi.INVALID_FIELD_IN_CDB);
    const start = Number(block) * SECTOR_SIZE;
    return this.#byHost(scsi.WRITE_ERROR, () => {
      buffer.forEach(0, bytes, false, (piece, done) => this.#disk.write(start + done, piece));
      if (force) this.#disk.flush();
      return good(bytes);
    });
  }

  /** One block of data for many blocks; where it may be, and is all zeros, they are unmapped. */
  writeSame({ block, blocks }: Extent, cdb: DataView, buffer: GuestBuffer): ScsiAnswer {
    const flags = cdb.getUint8(1);
    const noData = cdb.getUint8(0) === scsi.WRITE_SAME_16 && (flags & NO_DATA_OUT_BUFFER) !== 0;
    if (this.#disk.readOnly) return check(scsi.WRITE_PROTECTED);
    // 0 stands for all blocks to the disk's end, which are more than VPD page B0 allows.
    if (blocks === 0 || blocks > MOST_BLOCKS_CLEARED) return check(scsi.INVALID_FIELD_IN_CDB);
    if (!this.#has(block, blocks)) return check(scsi.LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);
    const data = noData ? new Uint8Array(SECTOR_SIZE) : buffer.copyOut(0, SECTOR_SIZE);
    if (data.length < SECTOR_SIZE) return check(scsi.INVALID_FIELD_IN_CDB);
    const [start, bytes] = [Number(block) * SECTOR_SIZE, blocks * SECTOR_SIZE];
    return this.#byHost(scsi.WRITE_ERROR, () => {
      if (flags & WRITE_SAME_UNMAP && data.every(byte => byte === 0)) this.#disk.discard(start, bytes);
      else this.#repeat(data, start, bytes);
      return good(noData ? 0 : SECTOR_SIZE, bytes);
    });
  }

  #repeat(data: Uint8Array, start: number, bytes: number): void {
    const pattern = new Uint8Array(Math.min(PATTERN_BYTES, bytes));
    for (let at = 0; at < pattern.length; at += data.length) pattern.set(data, at);
    for (let done = 0; done < bytes; done += pattern.length)
      this.#disk.write(start + done, pattern.subarray(0, Math.min(pattern.length, bytes - done)));
  }

  /** All descriptors are checked before the first is followed (SBC-3 5.28). */
  unmap(cdb: DataView, buffer: GuestBuffer): ScsiAnswer {
    if (this.#disk.readOnly) return check(scsi.WRITE_PROTECTED);
    const length = cdb.getUint16(7);
    if (length === 0) return good();
    const list = buffer.copyOut(0, Math.min(length, UNMAP_HEADER + MOST_UNMAP_DESCRIPTORS * UNMAP_DESCRIPTOR));
    if (length < UNMAP_HEADER || list.length < UNMAP_HEADER) return check(scsi.PARAMETER_LIST_LENGTH_ERROR);
    const view = new DataView(list.buffer);
    const count = Math.floor(view.getUint16(2) / UNMAP_DESCRIPTOR);
    if (count > MOST_UNMAP_DESCRIPTORS) return check(scsi.INVALID_FIELD_IN_PARAMETER_LIST);
    if (UNMAP_HEADER + count * UNMAP_DESCRIPTOR > list.length) return check(scsi.PARAMETER_LIST_LENGTH_ERROR);
    const found = Array.from({ length: count }, (_, index): Extent => {
      const at = UNMAP_HEADER + index * UNMAP_DESCRIPTOR;
      return { block: view.getBigUint64(at), blocks: view.getUint32(at + 8) };
    });
    if (found.some(({ blocks }) => blocks > MOST_BLOCKS_CLEARED)) return check(scsi.INVALID_FIELD_IN_PARAMETER_LIST);
    if (found.some(({ block, blocks }) => !this.#has(block, blocks)))
      return check(scsi.LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);
    return this.#byHost(scsi.WRITE_ERROR, () => {
      for (const { block, blocks } of found)
        if (blocks > 0) this.#disk.discard(Number(block) * SECTOR_SIZE, blocks * SECTOR_SIZE);
      return good(
        list.length,
        found.reduce((sum, { blocks }) => sum + blocks * SECTOR_SIZE, 0),
      );
    });
  }

  #has(block: bigint, blocks: number): boolean {
    return block + BigInt(blocks) <= BigInt(this.blocks);
  }

  /** Work that the host may fail at: the guest sees a bad disk, the person in front of it the reason. */
  #byHost(failure: scsi.Sense, work: () => ScsiAnswer): ScsiAnswer {
    try {
      return work();
    } catch (error) {
      const { serial } = this.identity;
      this.#log.once(`scsi-host-${serial}`, `${serial}: ${error instanceof Error ? error.message : error}`);
      return check(failure);
    }
  }
}
