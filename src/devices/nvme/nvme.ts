/**
 * An NVMe controller with one namespace (NVM Express Base specification 1.3): a disk for kernels of any kind, on hardware that no
 * hypervisor has thought of. Commands are done when a driver rings the bell of their queue.
 */
import type { Timer } from '../../host/clock.ts';
import type { Disk } from '../../host/disk.ts';
import type { UniformHandler, Width } from '../../memory/bus.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { Device, Slot } from '../device.ts';
import { MSI_X_BAR_SIZE, MsiX } from '../msi-x.ts';
import { PciFunction, type PciPlace } from '../pci.ts';
import { type Admin, executeAdmin } from './admin.ts';
import { COMMAND_BYTES, COMPLETION_BYTES } from './commands.ts';
import { VERSION } from './identify.ts';
import { NvmeNamespace } from './namespace.ts';
import {
  type CompletionQueue,
  complete,
  initial,
  isFull,
  MOST_ENTRIES,
  type NvmeState,
  QUEUES,
  type SubmissionQueue,
  takeCommand,
} from './queues.ts';

/** QEMU's controller, which Linux knows for a virtual one. */
const IDENTITY = {
  vendor: 0x1b36,
  device: 0x0010,
  revision: 2,
  class: 0x010802,
  subsystemVendor: 0x1af4,
  subsystem: 0x1100,
};

const REGISTER_BAR = 0;
const REGISTER_BAR_SIZE = 0x4000;
const MSI_X_BAR = 2;

/** Registers (3.1). */
const CAP = 0x00;
const VS = 0x08;
const INTMS = 0x0c;
const INTMC = 0x10;
const CC = 0x14;
const CSTS = 0x1c;
const AQA = 0x24;
const ASQ = 0x28;
const ACQ = 0x30;
const DOORBELLS = 0x1000;

/** Capabilities: entries a queue less one, queues in one piece, half seconds until it is ready; above that, NVM's commands. */
const CAP_LOW = (MOST_ENTRIES - 1) | (1 << 16) | (20 << 24);
const CAP_HIGH = 1 << 5;

const ENABLE = 1;
/** Bits 7 to 10: pages of 4 KiB are 0; 4 to 6: the command set, NVM's is 0. */
const UNSUPPORTED = 0x7f0;
const SHUTDOWN = 0xc000;
const READY = 1;
const FATAL = 2;
const SHUTDOWN_COMPLETE = 8;

/** After this much work for one bell the rest of the machine gets a turn. */
const TURN_COMMANDS = 256;
const TURN_BYTES = 2 ** 26;

const PAGE = 4096;

export class Nvme implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly #slot: Slot;
  readonly #memory: GuestMemory;
  readonly #namespace: NvmeNamespace;
  readonly #msiX: MsiX;
  readonly #state: NvmeState;
  readonly #admin: Admin;
  /** Set when a turn was put off. */
  readonly #later: Timer;

  /** @param index which device of the bus it is: its serial number has it */
  constructor(slot: Slot, disk: Disk, index: number, { address, wiring }: PciPlace) {
    this.name = `nvme-${index}`;
    this.#slot = slot;
    this.#memory = slot.memory;
    this.#namespace = new NvmeNamespace(disk, slot.memory, slot.log, this.name);
    this.#state = slot.state(this.name, 1, initial);
    this.#later = slot.clock.timer(this.name, () => this.#serve());
    this.#admin = {
      ...{ memory: slot.memory, namespace: this.#namespace, state: this.#state, number: index },
      identity: { vendor: IDENTITY.vendor, serial: `disk-${index}` },
    };
    const registers: UniformHandler = {
      read: (offset, width) => this.#read(offset, width),
      write: (offset, width, value) => this.#write(offset, width, value),
    };
    this.function = new PciFunction(slot, this.name, IDENTITY, wiring);
    this.#msiX = new MsiX(slot, this.function, QUEUES + 1, MSI_X_BAR);
    this.function.addBar(REGISTER_BAR, REGISTER_BAR_SIZE, address, registers);
    this.function.addBar(MSI_X_BAR, MSI_X_BAR_SIZE, address + REGISTER_BAR_SIZE, this.#msiX);
    this.function.attach();
  }

  /** Power-on. The configuration space is the bus's to reset. */
  reset(): void {
    this.#msiX.reset();
    this.#state.initialise();
    this.#later.off();
    this.function.setInterrupt(false);
  }

  // ---- Registers -------------------------------------------------------------------------------

  /** Registers are words, or two of them. */
  #read(offset: number, width: Width): number {
    if (width === 8) return this.#word(offset) + this.#word(offset + 4) * 2 ** 32;
    const shifted = this.#word(offset & ~3) >>> (8 * (offset & 3));
    return width === 1 ? shifted & 0xff : width === 2 ? shifted & 0xffff : shifted;
  }

  #word(offset: number): number {
    const state = this.#state;
    switch (offset) {
      case CAP:
        return CAP_LOW;
      case CAP + 4:
        return CAP_HIGH;
      case VS:
        return VERSION;
      case INTMS:
      case INTMC:
        return state.masked;
      case CC:
        return state.configuration;
      case CSTS:
        return state.status;
      case AQA:
        return state.adminSizes;
    }
    return offset >= ASQ && offset < ACQ + 8 && offset % 4 === 0 ? state.adminQueues[(offset - ASQ) / 4] : 0;
  }

  #write(offset: number, width: Width, value: number): void {
    if (width === 8) {
      this.#writeWord(offset, value % 2 ** 32);
      this.#writeWord(offset + 4, Math.floor(value / 2 ** 32));
    } else if (width === 4) this.#writeWord(offset, value >>> 0);
  }

  #writeWord(offset: number, value: number): void {
    const state = this.#state;
    if (offset % 4) return;
    if (offset >= DOORBELLS) return this.#ring((offset - DOORBELLS) / 4, value);
    switch (offset) {
      case INTMS:
        state.masked = (state.masked | value) >>> 0;
        return this.#updateLine();
      case INTMC:
        state.masked = (state.masked & ~value) >>> 0;
        return this.#updateLine();
      case CC:
        return this.#configure(value);
      case AQA:
        state.adminSizes = value & 0x0fff0fff;
        return;
    }
    // Pages: the lowest bits are none of an address.
    if (offset >= ASQ && offset < ACQ + 8)
      state.adminQueues[(offset - ASQ) / 4] = offset % 8 ? value : value & ~(PAGE - 1);
  }

  #configure(value: number): void {
    const state = this.#state;
    const was = state.configuration;
    state.configuration = value;
    if (value & SHUTDOWN && !(was & SHUTDOWN)) {
      this.#namespace.flush();
      state.status |= SHUTDOWN_COMPLETE;
    }
    if (value & ENABLE && !(was & ENABLE)) state.status = this.#enable() ? READY : FATAL;
    else if (!(value & ENABLE) && was & ENABLE) this.#disable();
  }

  /** Makes the administrator's queues. @returns false if they cannot be */
  #enable(): boolean {
    const state = this.#state;
    const [submission, completion] = [(state.adminSizes & 0xfff) + 1, (state.adminSizes >>> 16) + 1];
    const address = (word: number) => state.adminQueues[word] + state.adminQueues[word + 1] * 2 ** 32;
    const [asq, acq] = [address(0), address(2)];
    if (state.configuration & UNSUPPORTED || submission < 2 || completion < 2) return false;
    if (!this.#memory.has(asq, submission * COMMAND_BYTES) || !this.#memory.has(acq, completion * COMPLETION_BYTES))
      return false;
    state.submissions.set(0, { base: asq, size: submission, head: 0, tail: 0, completion: 0 });
    state.completions.set(0, {
      ...{ base: acq, size: completion, head: 0, tail: 0, phase: 1, interrupts: true, vector: 0 },
    });
    return true;
  }

  /** A controller's reset (7.3.2): the administrator's registers stay. */
  #disable(): void {
    const { configuration, adminSizes, adminQueues } = this.#state;
    this.#state.initialise();
    Object.assign(this.#state, { configuration, adminSizes, adminQueues });
    this.#later.off();
    this.#updateLine();
  }

  // ---- Queues ----------------------------------------------------------------------------------

  /** A doorbell: for each number of a queue one of the submission queue's tail and one of the completion queue's head. */
  #ring(bell: number, value: number): void {
    const state = this.#state;
    if (!(state.status & READY)) return;
    const queue = (bell & 1 ? state.completions : state.submissions).get(bell >> 1);
    if (!queue || value >= queue.size) {
      const { log } = this.#slot;
      log.once(`${this.name}-bell`, `${this.name}: doorbell ${bell} is rung with ${value}, which means nothing`);
      return;
    }
    if (bell & 1) queue.head = value;
    else queue.tail = value;
    this.#updateLine();
    this.#serve();
  }

  #serve(): void {
    // A turn that was put off will serve them.
    if (this.#later.due !== undefined) return;
    const told = new Set<CompletionQueue>();
    let commands = 0;
    let bytes = 0;
    for (const [number, queue] of this.#state.submissions) {
      for (;;) {
        const completion = this.#state.completions.get(queue.completion);
        if (queue.head === queue.tail || !completion || isFull(completion)) break;
        if (++commands > TURN_COMMANDS || bytes > TURN_BYTES) {
          this.#later.at(this.#slot.clock.now());
          break;
        }
        bytes += this.#execute(number, queue, completion, told);
        // It may have deleted queues, or itself.
        if (this.#state.submissions.get(number) !== queue) break;
      }
    }
    for (const { interrupts, vector } of told) if (interrupts && this.#msiX.on) this.#msiX.send(vector);
    if (told.size > 0) this.#updateLine();
  }

  /** @returns the bytes that the host moved or cleared */
  #execute(number: number, queue: SubmissionQueue, completion: CompletionQueue, told: Set<CompletionQueue>): number {
    const command = takeCommand(this.#memory, queue);
    const answered =
      number === 0 ? executeAdmin(this.#admin, command) : this.#namespace.execute(command, !this.#state.cache);
    if (!answered) return 0;
    const { status, result = 0, work = 0 } = answered;
    complete(this.#memory, completion, { result, head: queue.head, submission: number, id: command.id, status });
    told.add(completion);
    return work;
  }

  /** The pin is for all queues, where there are no messages. */
  #updateLine(): void {
    let high = false;
    for (const { interrupts, vector, head, tail } of this.#state.completions.values())
      high ||= interrupts && head !== tail && vector < 32 && !((this.#state.masked >>> vector) & 1);
    this.function.setInterrupt(high);
  }
}
