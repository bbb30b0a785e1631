/** The one namespace of an NVMe controller: a disk image, and the commands that read and write it (NVM Express 1.3, 6). */
import type { Disk } from '../../host/disk.ts';
import type { Log } from '../../host/log.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import * as nvme from './commands.ts';
import { type Answer, answer, type Command } from './commands.ts';

export const NAMESPACE = 1;
export const BLOCK_SIZE = 512;
export const BLOCK_BITS = 9;
/** A command moves at most so many pages of 4 KiB, as a power of two. */
export const MOST_PAGES_BITS = 7;
const MOST_BYTES = 4096 << MOST_PAGES_BITS;

const FLUSH = 0x00;
const WRITE = 0x01;
const READ = 0x02;
const WRITE_ZEROES = 0x08;
const DATASET_MANAGEMENT = 0x09;
/** Bit 30 of word 12. */
const FORCE_UNIT_ACCESS = 1 << 30;
/** Bit 2 of word 11: the ranges' contents are not needed any more. */
const DEALLOCATE = 4;
const RANGE_BYTES = 16;

export class NvmeNamespace {
  readonly blocks: number;
  readonly readOnly: boolean;
  readonly #disk: Disk;
  readonly #memory: GuestMemory;
  readonly #log: Log;
  readonly #name: string;

  /** @param name for the log */
  constructor(disk: Disk, memory: GuestMemory, log: Log, name: string) {
    this.#disk = disk;
    this.#memory = memory;
    this.#log = log;
    this.#name = name;
    this.blocks = Math.floor(disk.size / BLOCK_SIZE);
    this.readOnly = disk.readOnly;
  }

  /** @param through true: what is written is on stable storage when the command is completed */
  execute(command: Command, through: boolean): Answer {
    const { opcode, namespace } = command;
    // A flush may be for all namespaces.
    if (namespace !== NAMESPACE && !(opcode === FLUSH && namespace === 0xffffffff))
      return answer(nvme.INVALID_NAMESPACE);
    switch (opcode) {
      case FLUSH:
        return this.flush();
      case WRITE:
        return this.#write(command, through);
      case READ:
        return this.#read(command);
      case WRITE_ZEROES:
        return this.#clear([{ block: command.block, blocks: (command.word(12) & 0xffff) + 1 }]);
      case DATASET_MANAGEMENT:
        return this.#manage(command);
    }
    return answer(nvme.INVALID_OPCODE);
  }

  flush(): Answer {
    return this.#byHost(nvme.WRITE_FAULT, () => {
      this.#disk.flush();
      return 0;
    });
  }

  #read(command: Command): Answer {
    const blocks = (command.word(12) & 0xffff) + 1;
    const bytes = blocks * BLOCK_SIZE;
    if (bytes > MOST_BYTES) return answer(nvme.INVALID_FIELD);
    if (!this.#has(command.block, blocks)) return answer(nvme.LBA_OUT_OF_RANGE);
    const buffer = command.buffer(this.#memory, bytes);
    if (!buffer) return answer(nvme.DATA_TRANSFER_ERROR);
    const start = Number(command.block) * BLOCK_SIZE;
    return this.#byHost(nvme.UNRECOVERED_READ_ERROR, () => {
      buffer.forEach(0, bytes, true, (piece, done) => this.#disk.read(start + done, piece));
      return bytes;
    });
  }

  #write(command: Command, through: boolean): Answer {
    const blocks = (command.word(12) & 0xffff) + 1;
    const bytes = blocks * BLOCK_SIZE;
    if (bytes > MOST_BYTES) return answer(nvme.INVALID_FIELD);
    if (this.readOnly) return answer(nvme.WRITE_PROTECTED);
    if (!this.#has(command.block, blocks)) return answer(nvme.LBA_OUT_OF_RANGE);
    const buffer = command.buffer(this.#memory, bytes);
    if (!buffer) return answer(nvme.DATA_TRANSFER_ERROR);
    const start = Number(command.block) * BLOCK_SIZE;
    return this.#byHost(nvme.WRITE_FAULT, () => {
      buffer.forEach(0, bytes, false, (piece, done) => this.#disk.write(start + done, piece));
      if (through || command.word(12) & FORCE_UNIT_ACCESS) this.#disk.flush();
      return bytes;
    });
  }

  #manage(command: Command): Answer {
    if (!(command.word(11) & DEALLOCATE)) return answer(nvme.SUCCESS);
    const count = (command.word(10) & 0xff) + 1;
    const list = command.buffer(this.#memory, count * RANGE_BYTES)?.copyOut(0, count * RANGE_BYTES);
    if (!list) return answer(nvme.DATA_TRANSFER_ERROR);
    const view = new DataView(list.buffer);
    const ranges = Array.from({ length: count }, (_, index) => ({
      block: view.getBigUint64(index * RANGE_BYTES + 8, true),
      blocks: view.getUint32(index * RANGE_BYTES + 4, true),
    }));
    return this.#clear(ranges);
  }

  /** All ranges are checked before the first is cleared. */
  #clear(ranges: readonly { block: bigint; blocks: number }[]): Answer {
    if (this.readOnly) return answer(nvme.WRITE_PROTECTED);
    if (!ranges.every(({ block, blocks }) => this.#has(block, blocks))) return answer(nvme.LBA_OUT_OF_RANGE);
    return this.#byHost(nvme.WRITE_FAULT, () => {
      let bytes = 0;
      for (const { block, blocks } of ranges) {
        if (blocks > 0) this.#disk.discard(Number(block) * BLOCK_SIZE, blocks * BLOCK_SIZE);
        bytes += blocks * BLOCK_SIZE;
      }
      return bytes;
    });
  }

  #has(block: bigint, blocks: number): boolean {
    return block + BigInt(blocks) <= BigInt(this.blocks);
  }

  /** Work that the host may fail at: the guest sees a bad disk, the person in front of it the reason. */
  #byHost(failure: number, work: () => number): Answer {
    try {
      return { status: nvme.SUCCESS, work: work() };
    } catch (error) {
      this.#log.once(`${this.#name}-host`, `${this.#name}: ${error instanceof Error ? error.message : error}`);
      return answer(failure);
    }
  }
}
