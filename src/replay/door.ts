/**
 * The one door by which everything enters a machine that is not the guest's own: console input, frames, requests, readings of the
 * host's clocks, where slices of instructions end, decisions that depend on the host, random seeds. A machine with a door takes
 * them at one place of its loop, so that they come at the same instruction when they are given again.
 */
import type { HostClock } from '../host/clock.ts';
import type { Offload } from '../host/network.ts';
import type { HostView } from '../host-time.ts';
import type { MachineRequest } from '../machine/options.ts';
import {
  Divergence,
  END,
  ENTRY_NAMES,
  FLAG,
  INPUT,
  JournalReader,
  JournalWriter,
  NOW,
  SEED,
  SLICE,
  WALL,
} from './journal.ts';

/** Who takes what comes from outside. */
export interface Inputs {
  type(data: Uint8Array): void;
  /** At the second serial port. */
  serial(data: Uint8Array): void;
  request(what: MachineRequest): void;
  frame(network: number, frame: Uint8Array, offload: Offload | undefined): void;
}

/** Where in a run of the virtual clock something comes. Within what it tells apart, the guest does not notice when. */
export interface Place {
  /** Executed by all processors. */
  readonly instructions: number;
  /** Guest time in nanoseconds: it goes on while all processors are halted. */
  readonly time: number;
  /** A timer is due, which has not fired. */
  readonly isDue: boolean;
}

/** What a machine knows of its host, besides its states: whoever repeats a run from its middle on gives it the same again. */
export interface HostSide {
  /** Host time in nanoseconds when the event loop last had a turn. */
  turned: number;
  /** Undefined on the virtual clock. */
  time: HostView | undefined;
}

/** What a door may look at in its machine. */
export interface Behind {
  readonly inputs: Inputs;
  /** Something waits for `deliver`. */
  onInput(): void;
  /** Where the run is. */
  place(): Place;
  host: HostSide;
}

/** A processor, as far as its slices are told by it. */
interface Executing {
  readonly index: number;
  readonly instructions: number;
  readonly cpu: { readonly rip: bigint };
}

/** Where a slice ends that is repeated. */
export interface SliceEnd {
  readonly processor: number;
  /** Executed by this processor. */
  readonly instructions: number;
  /** The low half of RIP. */
  readonly rip: number;
  /** As the repetition has found: it ends since something in it asked for that (`Vcpu.requestExit`). */
  exitAsked?: true;
}

export interface Door {
  /** The host's clock as the machine is to read it. */
  clock(host: HostClock): HostClock;
  connect(machine: Behind): void;
  readonly inputs: Inputs;
  /** Hands over what has come. */
  deliver(): void;
  /** @returns true if the run is to end here */
  stops(wanted: boolean): boolean;
  flag(value: boolean): boolean;
  seed(value: bigint): bigint;
  /** A slice is about to begin. */
  startSlice(vcpu: Executing): void;
  /** The slice has ended. */
  ran(vcpu: Executing): void;
  /** The end of the slice that is repeated, while the run is in the midst of it. It may be stopped there, and goes on there. */
  readonly midst: SliceEnd | undefined;
  /** What comes has been recorded: a run that is stopped waits in the midst of a slice, and is no run that ends. */
  readonly repeats: boolean;
  /** The machine goes on in the middle of its run: what is read while it is put together is no part of it. */
  readonly goesOn: boolean;
  /** The run has ended, and not by `stops`. */
  ended(kind: string): void;
  /** True if nothing is recorded any more. */
  readonly isOver: boolean;
  /** Guest time in nanoseconds up to which a halt may last on the virtual clock: something comes then. Infinity if nothing does. */
  readonly wakesAt: number;
}

/** The door of a machine that can go back (machine/timeline.ts): what it has given can be given again, by another one. */
export interface PastDoor extends Door {
  /** Instructions at which the next input comes that is known; Infinity if there is none, or the run stops for it by itself. */
  readonly next: number;
  /** @returns what makes the door of a machine that goes on from a snapshot that is taken here */
  here(): () => PastDoor;
  /** The machine has been put together. */
  assembled(): void;
  /** The history begins here: what was before counts no more. */
  begin(): void;
}

const TYPED = 0;
const REQUEST = 1;
/** Of the first network; then come the others. */
const FRAME = 2;
/** Beyond all networks. */
const SERIAL = 255;
/** What stands before a frame: whether there is an offload, and what it says (u32 each). */
const FRAME_HEAD = 16;

export class Recorder implements Door {
  readonly #journal: JournalWriter;
  /** What is read within a slice comes after the slice's own entry: who repeats it must know before where it ends. */
  readonly #within: JournalWriter;
  #held: Uint8Array[] = [];
  #writer: JournalWriter;
  readonly #slices: number[] = [];
  #now = 0;
  #waiting: { input: number; bytes: Uint8Array }[] = [];
  #machine: Behind | undefined;
  readonly isOver = false;
  readonly midst = undefined;
  readonly repeats = false;
  readonly goesOn = false;
  readonly wakesAt = Number.POSITIVE_INFINITY;

  /** @param deliver gets what is recorded, in pieces */
  constructor(deliver: (bytes: Uint8Array<ArrayBuffer>) => void) {
    this.#writer = this.#journal = new JournalWriter(deliver);
    this.#within = new JournalWriter(bytes => this.#held.push(bytes));
  }

  clock(host: HostClock): HostClock {
    return {
      now: () => {
        // The record has whole nanoseconds, and so must what the machine reads.
        const now = Math.max(this.#now, Math.floor(host.now()));
        this.#writer.kind(NOW);
        this.#writer.count(now - this.#now);
        this.#now = now;
        return now;
      },
      wall: () => {
        const wall = host.wall();
        this.#writer.kind(WALL);
        this.#writer.u64(wall);
        return wall;
      },
      turn: () => host.turn(),
      sleep: nanoseconds => host.sleep(nanoseconds),
    };
  }
  connect(machine: Behind): void {
    this.#machine = machine;
  }
  readonly inputs: Inputs = {
    type: data => this.#put(TYPED, data.slice()),
    serial: data => this.#put(SERIAL, data.slice()),
    request: what => this.#put(REQUEST, packRequest(what)),
    frame: (network, frame, offload) => this.#put(FRAME + network, packFrame(frame, offload)),
  };
  #put(input: number, bytes: Uint8Array): void {
    this.#waiting.push({ input, bytes });
    this.#machine?.onInput();
  }
  deliver(): void {
    // What these bring about waits for the next time.
    for (const { input, bytes } of this.#waiting.splice(0)) {
      this.#writer.kind(INPUT);
      this.#writer.count(input);
      this.#writer.raw(bytes);
      give(this.#machine!.inputs, input, bytes);
    }
  }
  stops(wanted: boolean): boolean {
    if (wanted) this.ended('stopped');
    return wanted;
  }
  flag(value: boolean): boolean {
    this.#writer.kind(FLAG);
    this.#writer.count(value ? 1 : 0);
    return value;
  }
  seed(value: bigint): bigint {
    this.#writer.kind(SEED);
    this.#writer.u64(BigInt.asUintN(64, value));
    return value;
  }
  startSlice(): void {
    this.#writer = this.#within;
  }
  ran({ index, instructions, cpu }: Executing): void {
    this.#writer = this.#journal;
    this.#writer.kind(SLICE);
    this.#writer.count(index);
    this.#writer.count(instructions - (this.#slices[index] ?? 0));
    this.#writer.u32(Number(cpu.rip & 0xffffffffn));
    this.#slices[index] = instructions;
    this.#within.flush();
    for (const bytes of this.#held.splice(0)) this.#writer.bytes(bytes);
  }
  /** Hands over what has been recorded so far: from a timer, not from within the machine. */
  flush(): void {
    this.#journal.flush();
  }
  ended(kind: string): void {
    this.#writer.kind(END);
    this.#writer.raw(new TextEncoder().encode(kind));
    this.#writer.flush();
  }
}

/** Where a player is in a journal, and what it keeps besides. */
interface Position {
  readonly at: number;
  readonly now: number;
  readonly slices: readonly number[];
  readonly executed: number;
  readonly end: SliceEnd | undefined;
  readonly seeds: readonly bigint[];
  readonly host: HostSide;
}
export class Player implements Door, PastDoor {
  readonly #journal: Uint8Array;
  readonly #reader: JournalReader;
  readonly #slices: number[] = [];
  #now = 0;
  #machine: Behind | undefined;
  /** Where the present slice ends. */
  #end: SliceEnd | undefined;
  /** All processors' instructions up to the last slice, for people. */
  #executed = 0;
  readonly #seeds: bigint[] = [];
  /** Until its machine has been put together: where that goes on. */
  #from: Position | undefined;
  readonly wakesAt = Number.POSITIVE_INFINITY;
  readonly next = Number.POSITIVE_INFINITY;
  readonly repeats = true;
  /** The machine has done something else than the one that was recorded. */
  hasDiverged = false;

  constructor(journal: Uint8Array, from?: Position) {
    this.#journal = journal;
    this.#reader = new JournalReader(journal);
    this.#from = from;
    if (!from) return;
    this.#reader.at = from.at;
    this.#now = from.now;
    this.#slices.push(...from.slices);
    this.#executed = from.executed;
    this.#end = from.end;
    this.#seeds.push(...from.seeds);
  }

  /** @throws Divergence if the machine does something else now than the one that was recorded */
  #expect(kind: number): void {
    const { next } = this.#reader;
    if (next !== kind)
      this.#differ(`has ${ENTRY_NAMES[next] ?? 'something unknown'}, the machine asks for ${ENTRY_NAMES[kind]}`);
    this.#reader.kind();
  }
  #differ(how: string): never {
    this.hasDiverged = true;
    throw new Divergence(
      `the replay differs from the recording after instruction ${this.#executed}: the recording ${how}`,
    );
  }
  clock(host: HostClock): HostClock {
    return {
      now: () => {
        // Whoever adds up what the run has taken, too.
        if (this.isOver || this.#from) return this.#now;
        this.#expect(NOW);
        return (this.#now += this.#reader.count());
      },
      wall: () => {
        if (this.#from) return 0n;
        this.#expect(WALL);
        return this.#reader.u64();
      },
      turn: () => host.turn(),
      // Nothing is waited for.
      sleep: () => ({ over: host.turn(), wake() {} }),
    };
  }
  connect(machine: Behind): void {
    this.#machine = machine;
  }
  assembled(): void {
    if (this.#from) this.#machine!.host = this.#from.host;
    this.#from = undefined;
  }
  get goesOn(): boolean {
    return this.#from !== undefined;
  }
  here(): () => PastDoor {
    const slices = [...this.#slices];
    const seeds = [...this.#seeds];
    const host = this.#machine!.host;
    const at = this.#reader.at;
    const from = { at, now: this.#now, slices, executed: this.#executed, end: this.#end, seeds, host };
    return () => new Player(this.#journal, from);
  }
  begin(): void {}
  /** Nobody outside has a say. */
  readonly inputs: Inputs = { type() {}, serial() {}, request() {}, frame() {} };
  deliver(): void {
    while (this.#reader.next === INPUT) {
      this.#reader.kind();
      const input = this.#reader.count();
      const bytes = this.#reader.raw();
      if (input >= FRAME && input !== SERIAL && bytes.length < FRAME_HEAD)
        this.#differ('is damaged: a frame is too short');
      give(this.#machine!.inputs, input, bytes);
    }
  }
  /** Whoever wants to stop the run does so in the midst of a slice: its end here is the recorded one's. */
  stops(): boolean {
    if (this.#reader.next !== END) return false;
    const kind = this.#readEnd();
    if (kind !== 'stopped' && kind !== 'timeout') this.#differ(`ends with ${kind}, and the machine goes on`);
    return true;
  }
  flag(): boolean {
    this.#expect(FLAG);
    return this.#reader.count() !== 0;
  }
  seed(): bigint {
    // Each processor's, in order.
    if (this.#from) return this.#from.seeds[this.#drawn++] ?? 0n;
    this.#expect(SEED);
    const seed = this.#reader.u64();
    this.#seeds.push(seed);
    return seed;
  }
  #drawn = 0;
  startSlice({ index, instructions }: Executing): void {
    this.#expect(SLICE);
    const processor = this.#reader.count();
    const end = (this.#slices[index] ?? 0) + this.#reader.count();
    this.#end = { processor, instructions: end, rip: this.#reader.u32() };
    if (processor !== index)
      this.#differ(`gives the turn to processor ${processor}, the machine to processor ${index}`);
    if (end < instructions)
      this.#differ(`has a slice up to instruction ${end} of processor ${index}, which is at ${instructions}`);
  }
  get midst(): SliceEnd | undefined {
    return this.#end;
  }
  ran({ index, instructions, cpu }: Executing): void {
    const { instructions: end, rip } = this.#end!;
    this.#end = undefined;
    const here = Number(cpu.rip & 0xffffffffn);
    if (instructions !== end)
      this.#differ(`goes on to instruction ${end} of processor ${index}, the machine stops at ${instructions}`);
    if (rip !== here)
      this.#differ(
        `is at …${rip.toString(16)} at instruction ${end} of processor ${index}, the machine at 0x${cpu.rip.toString(16)}`,
      );
    this.#executed += instructions - (this.#slices[index] ?? 0);
    this.#slices[index] = instructions;
  }
  #readEnd(): string {
    this.#expect(END);
    return new TextDecoder().decode(this.#reader.raw());
  }
  ended(kind: string): void {
    const recorded = this.#readEnd();
    if (recorded !== kind) this.#differ(`ends with ${recorded}, the machine with ${kind}`);
  }
  get isOver(): boolean {
    return this.#reader.next === 0 && this.#end === undefined;
  }
}

function give(inputs: Inputs, input: number, bytes: Uint8Array): void {
  if (input === TYPED) inputs.type(bytes);
  else if (input === SERIAL) inputs.serial(bytes);
  else if (input === REQUEST) inputs.request(unpackRequest(bytes));
  else {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const [present, start, at, segment] = [0, 4, 8, 12].map(offset => view.getUint32(offset, true)) as [
      number,
      ...number[],
    ];
    const offload = present ? { start: start!, at: at!, segment: segment! } : undefined;
    inputs.frame(input - FRAME, bytes.slice(FRAME_HEAD), offload);
  }
}

/** A request to switch off has no content; one for memory has the bytes, u64. */
function packRequest(what: MachineRequest): Uint8Array {
  if (what === 'shutdown') return new Uint8Array(0);
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(what.memory), true);
  return bytes;
}

function unpackRequest(bytes: Uint8Array): MachineRequest {
  if (bytes.length < 8) return 'shutdown';
  return { memory: Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)) };
}

function packFrame(frame: Uint8Array, offload: Offload | undefined): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEAD + frame.length);
  const view = new DataView(bytes.buffer);
  const words = offload ? [1, offload.start, offload.at, offload.segment] : [0, 0, 0, 0];
  for (const [index, word] of words.entries()) view.setUint32(4 * index, word, true);
  bytes.set(frame, FRAME_HEAD);
  return bytes;
}
