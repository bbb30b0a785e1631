/**
 * VMware's paravirtual SCSI adapter (PVSCSI; Linux drivers/scsi/vmw_pvscsi.h) with one disk, target 0. A driver hands over a ring
 * of requests and one of completions, and writes to a register when there are requests.
 */

import type { Timer } from '../../host/clock.ts';
import type { Disk } from '../../host/disk.ts';
import type { UniformHandler, Width } from '../../memory/bus.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { Device, Slot } from '../device.ts';
import { GuestBuffer, type Piece } from '../guest-buffer.ts';
import { MSI_X_BAR_SIZE, MsiX } from '../msi-x.ts';
import { PciFunction, type PciPlace } from '../pci.ts';
import { CDB_SIZE } from './commands.ts';
import { ScsiDisk } from './disk.ts';
import { ScsiTarget } from './target.ts';

const IDENTITY = {
  vendor: 0x15ad,
  device: 0x07c0,
  revision: 2,
  class: 0x010000,
  subsystemVendor: 0x15ad,
  subsystem: 0x07c0,
};
const NAMES = { vendor: 'VMware', product: 'Virtual disk', revision: '2.0' };

const REGISTER_BAR = 0;
const REGISTER_BAR_SIZE = 0x8000;
const MSI_X_BAR = 1;

/** Registers. */
const COMMAND = 0x0000;
const COMMAND_DATA = 0x0004;
const COMMAND_STATUS = 0x0008;
const INTR_STATUS = 0x100c;
const INTR_MASK = 0x2010;
const KICK_NON_RW_IO = 0x3014;
const KICK_RW_IO = 0x4018;

/** Commands, and how many words of data each takes. */
const ADAPTER_RESET = 1;
const SETUP_RINGS = 3;
const RESET_BUS = 4;
const RESET_DEVICE = 5;
const ABORT_CMD = 6;
const CONFIG = 7;
const COMMAND_WORDS: ReadonlyMap<number, number> = new Map([
  [ADAPTER_RESET, 0],
  [SETUP_RINGS, 132],
  [RESET_BUS, 0],
  [RESET_DEVICE, 3],
  [ABORT_CMD, 4],
  [CONFIG, 6],
]);
const MOST_WORDS = 132;
const FAILED = 0xffffffff;

/** CONFIG: the page that describes the adapter, and where in it the number of targets is. */
const CONTROLLER_PAGE = 0x1958;
const CONTROLLER_PAGE_BYTES = 480;
const CONTROLLER_PAGE_TARGETS = 472;

const COMPLETION_INTERRUPT = 1;
/** Completions on two rings, messages on two. */
const ALL_INTERRUPTS = 0xf;

/** SETUP_RINGS: numbers of pages, the state's page, then the rings' pages, of which there is room for so many each. */
const MOST_RING_PAGES = 32;
const REQUEST_PAGES_AT = 4;
const COMPLETION_PAGES_AT = REQUEST_PAGES_AT + 2 * MOST_RING_PAGES;

/** The rings' state, which both sides share: free-running positions and sizes (as powers of two). */
const REQUEST_PRODUCER = 0;
const REQUEST_CONSUMER = 4;
const REQUEST_SIZE = 8;
const COMPLETION_PRODUCER = 12;
const COMPLETION_CONSUMER = 16;
const COMPLETION_SIZE = 20;

const REQUEST_BYTES = 128;
const COMPLETION_BYTES = 32;
const ELEMENT_BYTES = 16;
const FLAG_LIST = 1;
const FLAG_NONE = 4;
const ELEMENT_CHAIN = 1;
/** Elements of a list, links to further lists among them. */
const MOST_ELEMENTS = 4096;

/** Host adapter statuses. */
const SUCCESS = 0x00;
const SELECTION_TIMEOUT = 0x11;
const INVALID_PARAMETER = 0x1a;

/** After this much work for one kick the rest of the machine gets a turn. */
const TURN_REQUESTS = 256;
const TURN_BYTES = 2 ** 26;

const initial = () => ({
  command: 0,
  /** The command's data, as far as it has come. */
  words: new Uint32Array(MOST_WORDS),
  count: 0,
  /** What COMMAND_STATUS answers. */
  status: 0,
  interrupt: 0,
  mask: 0,
  /** The driver has handed rings over, and they are sound. */
  running: false,
  /** Guest-physical addresses of the page of the rings' state, and of the rings' pages. */
  shared: 0,
  requests: new Float64Array(MOST_RING_PAGES),
  completions: new Float64Array(MOST_RING_PAGES),
  /** Entries of each ring, powers of two. */
  requestSize: 0,
  completionSize: 0,
  /** Free-running: the next to take, and the next to fill. */
  taken: 0,
  filled: 0,
});

export class Pvscsi implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly #slot: Slot;
  readonly #memory: GuestMemory;
  readonly #target: ScsiTarget;
  readonly #msiX: MsiX;
  readonly #nothing: GuestBuffer;
  readonly #state: State<ReturnType<typeof initial>>;
  /** Set when a turn was put off. */
  readonly #later: Timer;

  /** @param index which device of the bus it is: the disk's serial number has it */
  constructor(slot: Slot, disk: Disk, index: number, { address, wiring }: PciPlace) {
    this.name = `pvscsi-${index}`;
    this.#slot = slot;
    this.#memory = slot.memory;
    this.#nothing = GuestBuffer.over(slot.memory, [])!;
    this.#target = new ScsiTarget([new ScsiDisk(disk, { ...NAMES, serial: `disk-${index}`, number: index }, slot.log)]);
    this.#state = slot.state(this.name, 1, initial);
    this.#later = slot.clock.timer(this.name, () => this.#serve());
    const registers: UniformHandler = {
      read: (offset, width) => this.#read(offset, width),
      write: (offset, width, value) => this.#write(offset, width, value),
    };
    this.function = new PciFunction(slot, this.name, IDENTITY, wiring);
    this.#msiX = new MsiX(slot, this.function, 1, MSI_X_BAR);
    this.function.addBar(REGISTER_BAR, REGISTER_BAR_SIZE, address, registers);
    this.function.addBar(MSI_X_BAR, MSI_X_BAR_SIZE, address + REGISTER_BAR_SIZE, this.#msiX);
    this.function.attach();
  }

  /** Power-on. The configuration space is the bus's to reset. */
  reset(): void {
    this.#msiX.reset();
    this.#resetAdapter();
  }

  #resetAdapter(): void {
    this.#state.initialise();
    this.#later.off();
    this.#updateLine();
  }

  // ---- Registers -------------------------------------------------------------------------------

  #read(offset: number, width: Width): number {
    const state = this.#state;
    if (width !== 4) return 0;
    return offset === COMMAND_STATUS
      ? state.status
      : offset === INTR_STATUS
        ? state.interrupt
        : offset === INTR_MASK
          ? state.mask
          : 0;
  }

  #write(offset: number, width: Width, value: number): void {
    if (width !== 4) return;
    const state = this.#state;
    switch (offset) {
      case COMMAND:
        return this.#begin(value);
      case COMMAND_DATA:
        if (state.count >= (COMMAND_WORDS.get(state.command) ?? 0)) return;
        state.words[state.count++] = value;
        if (state.count === COMMAND_WORDS.get(state.command)) this.#execute();
        return;
      case INTR_STATUS:
        state.interrupt &= ~value;
        return this.#updateLine();
      case INTR_MASK:
        state.mask = value & ALL_INTERRUPTS;
        return this.#updateLine();
      case KICK_NON_RW_IO:
      case KICK_RW_IO:
        return this.#serve();
    }
  }

  #updateLine(): void {
    this.function.setInterrupt((this.#state.interrupt & this.#state.mask) !== 0);
  }

  // ---- Commands --------------------------------------------------------------------------------

  #begin(command: number): void {
    const words = COMMAND_WORDS.get(command);
    this.#state.command = command;
    this.#state.count = 0;
    // A driver that asks for what is not here finds that out so, and makes do without.
    this.#state.status = words ?? FAILED;
    if (words === 0) this.#execute();
  }

  #execute(): void {
    const { command } = this.#state;
    if (command === ADAPTER_RESET) this.#resetAdapter();
    if (command === CONFIG) this.#describe();
    // Requests are served at once, so that none is left to be aborted.
    this.#state.status = command === SETUP_RINGS && !this.#setUpRings() ? FAILED : SUCCESS;
  }

  /** @returns false if the rings are not in RAM, or too many pages long */
  #setUpRings(): boolean {
    const state = this.#state;
    const { words } = state;
    const page = (at: number) => (words[at] + words[at + 1] * 2 ** 32) * PAGE_SIZE;
    const [requestPages, completionPages] = words;
    state.running = false;
    state.shared = page(2);
    for (let index = 0; index < MOST_RING_PAGES; index++) {
      state.requests[index] = page(REQUEST_PAGES_AT + 2 * index);
      state.completions[index] = page(COMPLETION_PAGES_AT + 2 * index);
    }
    const inRam = (pages: Float64Array, count: number) =>
      count > 0 && count <= MOST_RING_PAGES && pages.subarray(0, count).every(at => this.#memory.has(at, PAGE_SIZE));
    if (!inRam(state.requests, requestPages) || !inRam(state.completions, completionPages)) return false;
    if (!this.#memory.has(state.shared, PAGE_SIZE)) return false;
    const [requestBits, completionBits] = [
      Math.floor(Math.log2((requestPages * PAGE_SIZE) / REQUEST_BYTES)),
      Math.floor(Math.log2((completionPages * PAGE_SIZE) / COMPLETION_BYTES)),
    ];
    state.requestSize = 1 << requestBits;
    state.completionSize = 1 << completionBits;
    state.taken = state.filled = 0;
    this.#memory.write32(state.shared + REQUEST_SIZE, requestBits);
    this.#memory.write32(state.shared + COMPLETION_SIZE, completionBits);
    state.running = true;
    return true;
  }

  /** `struct PVSCSIConfigPageController`, which says how many targets there are. Of other pages the driver's copy stays as it is. */
  #describe(): void {
    const { words } = this.#state;
    const at = words[0] + words[1] * 2 ** 32;
    if (words[4] !== CONTROLLER_PAGE || !this.#memory.has(at, CONTROLLER_PAGE_BYTES)) return;
    const page = new DataView(new ArrayBuffer(CONTROLLER_PAGE_BYTES));
    page.setUint32(0, CONTROLLER_PAGE, true);
    page.setUint16(4, CONTROLLER_PAGE_BYTES / 4, true);
    page.setUint32(CONTROLLER_PAGE_TARGETS, 1, true);
    this.#memory.copyIn(at, new Uint8Array(page.buffer));
  }

  // ---- Requests --------------------------------------------------------------------------------

  #serve(): void {
    const state = this.#state;
    // A turn that was put off will serve it.
    if (!state.running || this.#later.due !== undefined) return;
    const before = state.filled;
    let bytes = 0;
    for (let requests = 0; requests < TURN_REQUESTS && bytes < TURN_BYTES && this.#hasRequest(); requests++)
      bytes += this.#take();
    if (state.filled === before) return;
    state.interrupt |= COMPLETION_INTERRUPT;
    if (this.#msiX.on) {
      if (state.mask & COMPLETION_INTERRUPT) this.#msiX.send(0);
    } else this.#updateLine();
    if (this.#hasRequest()) this.#later.at(this.#slot.clock.now());
  }

  /** There is a request, and room for its completion. */
  #hasRequest(): boolean {
    const state = this.#state;
    const waiting = (this.#memory.read32(state.shared + REQUEST_PRODUCER) - state.taken) >>> 0;
    const unread = (state.filled - this.#memory.read32(state.shared + COMPLETION_CONSUMER)) >>> 0;
    if (waiting <= state.requestSize) return waiting > 0 && unread < state.completionSize;
    const { log } = this.#slot;
    log.once(
      `${this.name}-ring`,
      `${this.name}: ${waiting} requests in a ring of ${state.requestSize}; waits for a reset`,
    );
    state.running = false;
    return false;
  }

  /** Takes a request and completes it. @returns the bytes that the host moved or cleared */
  #take(): number {
    const state = this.#state;
    const memory = this.#memory;
    const at = entryAddress(state.requests, state.taken & (state.requestSize - 1), REQUEST_BYTES);
    const request = new DataView(memory.copyOut(at, REQUEST_BYTES).buffer);
    state.taken = (state.taken + 1) >>> 0;
    memory.write32(state.shared + REQUEST_CONSUMER, state.taken);
    const { host, status = 0, transferred = 0, senseLength = 0, work = 0 } = this.#answer(request);
    const completion = new DataView(new ArrayBuffer(COMPLETION_BYTES));
    completion.setBigUint64(0, request.getBigUint64(0, true), true);
    completion.setUint32(8, transferred, true);
    completion.setUint32(16, senseLength, true);
    completion.setUint16(20, host, true);
    completion.setUint16(22, status, true);
    memory.copyIn(
      entryAddress(state.completions, state.filled & (state.completionSize - 1), COMPLETION_BYTES),
      new Uint8Array(completion.buffer),
    );
    state.filled = (state.filled + 1) >>> 0;
    memory.write32(state.shared + COMPLETION_PRODUCER, state.filled);
    return work;
  }

  /** `struct PVSCSIRingReqDesc`. */
  #answer(request: DataView): Answer {
    const length = request.getUint8(56);
    const [bus, target] = [request.getUint8(66), request.getUint8(67)];
    if (bus !== 0 || target !== 0) return { host: SELECTION_TIMEOUT };
    const buffer = this.#bufferOf(request);
    if (!buffer || length === 0 || length > CDB_SIZE) return { host: INVALID_PARAMETER };
    const cdb = new Uint8Array(CDB_SIZE);
    cdb.set(new Uint8Array(request.buffer, 40, length));
    // Peripheral device addressing (SAM-5 4.7.7.2): the number is in the second byte.
    const { status, sense, transferred, work } = this.#target.execute(request.getUint8(58), cdb, buffer);
    const room = request.getUint32(32, true);
    const place = addressAt(request, 24);
    const senseLength = this.#memory.has(place, room) ? Math.min(room, sense.length) : 0;
    if (senseLength > 0) this.#memory.copyIn(place, sense.subarray(0, senseLength));
    return { host: SUCCESS, status, transferred, senseLength, work };
  }

  /** The data's buffer; undefined where the driver names memory that it does not have. */
  #bufferOf(request: DataView): GuestBuffer | undefined {
    const flags = request.getUint32(36, true);
    const [address, length] = [addressAt(request, 8), addressAt(request, 16)];
    if (flags & FLAG_NONE || length === 0) return this.#nothing;
    const pieces = flags & FLAG_LIST ? this.#listed(address, length) : [{ address, length }];
    return pieces && GuestBuffer.over(this.#memory, pieces);
  }

  /** The first `length` bytes of what a list of `struct PVSCSISGElement` names. */
  #listed(list: number, length: number): Piece[] | undefined {
    const pieces: Piece[] = [];
    let at = list;
    let left = length;
    for (let elements = 0; left > 0; elements++) {
      if (elements === MOST_ELEMENTS || !this.#memory.has(at, ELEMENT_BYTES)) return undefined;
      const element = new DataView(this.#memory.copyOut(at, ELEMENT_BYTES).buffer);
      const address = addressAt(element, 0);
      if (element.getUint32(12, true) & ELEMENT_CHAIN) at = address;
      else {
        const size = Math.min(element.getUint32(8, true), left);
        pieces.push({ address, length: size });
        left -= size;
        at += ELEMENT_BYTES;
      }
    }
    return pieces;
  }
}

interface Answer {
  /** Of the host adapter. */
  host: number;
  /** Of the unit, SCSI's. */
  status?: number;
  transferred?: number;
  senseLength?: number;
  work?: number;
}

/** Where an entry of a ring is whose pages are anywhere. */
function entryAddress(pages: Float64Array, index: number, size: number): number {
  return pages[Math.floor((index * size) / PAGE_SIZE)] + ((index * size) % PAGE_SIZE);
}

/** A 64-bit number. Beyond 2^53 it loses its lowest bits; it is outside RAM either way. */
function addressAt(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}
