/**
 * A machine that can go back. It keeps snapshots of itself in memory while it runs, and what it is given from outside (replay/input-log.ts).
 * To go back is to make a machine of the last snapshot before, and to execute from there: on the virtual clock it does the same again,
 * to the instruction, and so does a recorded run on either clock. A place is a number of instructions, executed by all processors.
 *
 * Console output and input belong to the run, not to a machine: what has been shown is not shown again, and what is typed while the machine is in
 * its past comes when it has arrived where it had been.
 */
import type { History, StopReason, Target } from '../debug/target.ts';
import type { Engine } from '../engine/engine.ts';
import { RegionLibrary, SAVED_LIMIT } from '../engine/jit/library.ts';
import type { Exit } from '../exits.ts';
import { backEndsOf } from '../host/back-ends.ts';
import type { Console } from '../host/console.ts';
import type { DiskMemory } from '../host/disk.ts';
import { portableClock } from '../host/portable-clock.ts';
import { type PastDoor, Player } from '../replay/door.ts';
import { InputLog } from '../replay/input-log.ts';
import type { MemoryPiece } from '../snapshot/memory-pages.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { Assembled } from './compare-machines.ts';
import { machineOf } from './controls.ts';
import { assemble } from './machine.ts';
import type { Machine, MachineOptions, RunLimits } from './options.ts';

/** Instructions between two looks at whether a snapshot is due. */
const LEG = 5_000_000;
/** A snapshot is due when the run since the last one has taken so many times what a snapshot takes. */
const WORTH = 10;
/** Snapshots that are kept at most, and the bytes of memory that they may have besides the first one's. */
const MOST_KEPT = 32;
const MOST_BYTES = 512 << 20;
/** Who goes back goes back again, and not far: a snapshot is taken so many instructions before a place that was far from one. */
const NEAR = 400_000;
const FAR = 4 * NEAR;
/**
 * Instructions that are searched for stops at first, then four times as many, and so on: the interpreter searches, and up to there translated
 * code is executed.
 */
const SPAN = 2_000_000;
/** Host time in nanoseconds after which others get a turn. */
const TURN_EVERY = 8_000_000;

interface Kept {
  readonly instructions: number;
  readonly snapshot: Snapshot;
  /** Makes the door of a machine that goes on here. */
  readonly door: () => PastDoor;
  /** Bytes of the console that had been written. */
  readonly written: number;
  /** What disks in memory had. */
  readonly disks: readonly Uint8Array[];
  /** Bytes of memory that it does not share with the one before. */
  own: number;
}

/** Bytes of memory of a snapshot that another one has not. */
function ownBytes(snapshot: Snapshot, other: Snapshot | undefined): number {
  const shared = new Set<MemoryPiece>(other?.memory);
  return snapshot.memory.reduce((sum, piece) => sum + (shared.has(piece) ? 0 : piece.bytes.length), 0);
}

interface Present extends Assembled {
  readonly door: PastDoor;
  readonly target: Target;
  readonly screen: Screen;
}

/** A machine's console: it shows what lies beyond what has been shown. */
class Screen {
  written: number;
  readonly #show: (data: Uint8Array, from: number) => void;
  constructor(written: number, show: (data: Uint8Array, from: number) => void) {
    this.written = written;
    this.#show = show;
  }
  write(data: Uint8Array): void {
    const from = this.written;
    this.written += data.length;
    this.#show(data, from);
  }
}

/** Why a machine of these options cannot go back, in words for a person; undefined if it can. */
export function whyNoTimeline(options: MachineOptions): string | undefined {
  const { disks, folders, networks, vsock, serial } = backEndsOf(options);
  if ((options.clock ?? 'virtual') !== 'virtual') return 'guest time follows the host: --clock virtual';
  if (networks.length > 0) return 'what comes from a network does not come again: --net none';
  if (vsock) return 'what comes from programs of the host does not come again: no --vsock';
  if (serial) return 'what a second serial port sends and gets does not come again: no --serial';
  if (folders.length > 0) return 'folders of the host change meanwhile: no --share, no --root';
  const disk = disks.find(({ readOnly, memory }) => !readOnly && !memory);
  if (disk) return `what is written to the disk ${disk.name} stays there: --disk …,ro`;
  if (options.engine === 'both') return 'there are two machines: no --engine both';
  if (options.door) return 'what enters is recorded or replayed already';
  return undefined;
}

/**
 * @param journal of a recording, whose machine `options` make: the run is that one
 * @throws as `createMachine`; Error where `whyNoTimeline` has something to say
 */
export async function createTimeline(options: MachineOptions, journal?: Uint8Array): Promise<Machine> {
  return (await assembleTimeline(options, journal)).machine;
}

/** The same, for those who look inside. */
export async function assembleTimeline(options: MachineOptions, journal?: Uint8Array): Promise<AssembledTimeline> {
  const reason = journal ? undefined : whyNoTimeline(options);
  if (reason !== undefined) throw new Error(`no history: ${reason}`);
  const timeline = new Timeline(options, journal);
  await timeline.start(options);
  return { machine: timeline.control(), timeline };
}
export interface AssembledTimeline {
  readonly machine: Machine;
  readonly timeline: Pick<Timeline, 'keep' | 'goTo' | 'isOver' | 'engine' | 'written'>;
}

class Timeline implements History {
  readonly #options: MachineOptions;
  readonly #log = new InputLog();
  readonly #journal: Uint8Array | undefined;
  readonly #kept: Kept[] = [];
  #now!: Present;
  /** How the guest has ended, where it stands now. */
  #ended: Exit | undefined;
  #isKept = false;
  /** Somebody has changed the guest: what was before does not lead here. */
  #isChanged = false;
  #stopping = false;
  /** Bytes of the console that the person has seen. */
  #shown = 0;
  #type: ((data: Uint8Array) => void) | undefined;
  /** The log, each line once. */
  readonly #lines: string[] = [];
  /** Host time in nanoseconds when others had a turn. */
  #turned = 0;
  /** Host time in nanoseconds when the last snapshot had been taken, and what it took. */
  #keptAt = 0;
  #cost = 0;
  /** Before the first instruction. */
  #first!: Snapshot;
  /** What the debugger wants the guest to stop for. */
  #addresses: ReadonlySet<bigint> = new Set();
  #watchpoints: Parameters<Target['setBreakpoints']>[1] = [];
  /** The stop of a way back. */
  #stop: StopReason | undefined;

  constructor(options: MachineOptions, journal: Uint8Array | undefined) {
    this.#journal = journal;
    const { kernel, initrd, append, commandLine, modules, entry, ...rest } = options;
    // What has been translated is there again after a way back.
    this.#options = { ...rest, library: options.library ?? new RegionLibrary(SAVED_LIMIT) };
  }
  /** A machine with a door goes on from a snapshot: here of itself, before its first instruction. */
  async start(options: MachineOptions): Promise<void> {
    const { console, onLog, translator, cache, ...silent } = options;
    const first = options.snapshot ?? (await assemble({ ...silent, engine: 'interpreter' })).machine.snapshot();
    this.#first = first;
    const { instructions } = first.header;
    const journal = this.#journal;
    const door = () => (journal ? new Player(journal) : this.#log.door(0));
    await this.#make({ instructions, snapshot: first, door, written: 0, disks: this.#contents, own: 0 });
  }

  /** The machine as the embedder sees it: whichever one it is now. */
  control(): Machine {
    const current = () => this.#now.machine;
    const target = this.#target();
    return machineOf({
      run: limits => this.#run(limits),
      stop: () => {
        this.#stopping = true;
        current().stop();
      },
      request: what => current().request(what),
      type: data => current().type(data),
      statistics: () => current().statistics,
      instructions: () => current().instructions,
      epoch: () => current().epoch,
      describe: () => current().describe(),
      log: this.#lines,
      snapshot: options => current().snapshot(options),
      core: () => current().core(),
      learned: () => current().learned(),
      debug: () => target,
    });
  }
  #target(): Target {
    const current = () => this.#now.target;
    const change = (how: () => boolean) => {
      // What is repeated would not be any more.
      const done = !this.#journal && how();
      if (done) this.#isChanged = true;
      return done;
    };
    return {
      get registers() {
        return current().registers;
      },
      get processors() {
        return current().processors;
      },
      get current() {
        return current().current;
      },
      history: this,
      takeStop: () => {
        const stop = this.#stop ?? current().takeStop();
        this.#stop = undefined;
        return stop;
      },
      readRegister: (processor, register) => current().readRegister(processor, register),
      writeRegister: (processor, register, value) => change(() => current().writeRegister(processor, register, value)),
      readMemory: (processor, address, length) => current().readMemory(processor, address, length),
      writeMemory: (processor, address, bytes) => change(() => current().writeMemory(processor, address, bytes)),
      setBreakpoints: (addresses, watchpoints) => {
        this.#addresses = addresses;
        this.#watchpoints = watchpoints;
        current().setBreakpoints(addresses, watchpoints);
      },
      step: processor => {
        // Others execute as their turns come, or the run would not be the one that repeats.
        const { core } = this.#now.engine;
        core.breakpoints.stepping = core.vcpus[processor];
        return false;
      },
      activity: processor => current().activity(processor),
      describe: () => current().describe(),
      operations: () => current().operations(),
    };
  }

  get #memories(): DiskMemory[] {
    return backEndsOf(this.#options).disks.flatMap(({ memory }) => memory ?? []);
  }
  get #contents(): Uint8Array[] {
    return this.#memories.map(({ contents }) => contents);
  }

  async #make({ snapshot, door: makeDoor, written, disks }: Kept): Promise<void> {
    for (const [index, memory] of this.#memories.entries()) memory.contents = disks[index]!;
    const door = makeDoor();
    const screen = new Screen(written, (data, from) => this.#show(data, from));
    const { console: outside } = this.#options;
    const console: Console = {
      write: data => screen.write(data),
      onInput: take => {
        const isFirst = !this.#type;
        this.#type = take;
        if (isFirst) outside?.onInput(data => this.#type!(data));
      },
    };
    const onLog = (line: string) => {
      if (this.#lines.includes(line)) return;
      this.#lines.push(line);
      this.#options.onLog?.(line);
    };
    const made = await assemble({ ...this.#options, console, onLog, snapshot, door });
    door.assembled();
    (this.#now as Present | undefined)?.engine.core.close();
    this.#now = { ...made, door, screen, target: made.machine.debug() };
    // Interrupts come when they came.
    made.engine.core.breakpoints.holdsInterrupts = false;
    this.#ended = undefined;
  }
  #show(data: Uint8Array, from: number): void {
    const seen = Math.max(0, this.#shown - from);
    if (seen >= data.length) return;
    this.#shown = from + data.length;
    this.#options.console?.write(data.subarray(seen));
  }

  get #instructions(): number {
    return this.#now.machine.instructions;
  }

  async #run({
    instructions = Number.POSITIVE_INFINITY,
    timeout = Number.POSITIVE_INFINITY,
  }: RunLimits): Promise<Exit> {
    const last = this.#instructions + instructions;
    const deadline = portableClock.now() + timeout * 1e9;
    this.#stopping = false;
    for (;;) {
      if (this.#ended) return this.#ended;
      this.#keepIfDue();
      const exit = await this.#leg(Math.min(last, this.#instructions + LEG), deadline);
      if (exit.kind !== 'stopped') return exit;
      if (this.#stopping || this.#hasStop || this.#instructions >= last) return exit;
    }
  }
  get #hasStop(): boolean {
    return this.#now.engine.core.breakpoints.stop !== undefined;
  }
  /** Runs are short where there are many stops: others must get a turn all the same. */
  async #turn(): Promise<void> {
    if (portableClock.now() - this.#turned < TURN_EVERY) return;
    await portableClock.turn();
    this.#turned = portableClock.now();
  }
  /** Runs to a place, or less far: an input comes, there is a stop, somebody stops the machine, the guest ends. */
  async #leg(until: number, deadline = Number.POSITIVE_INFINITY): Promise<Exit> {
    await this.#turn();
    const { machine, door } = this.#now;
    const here = machine.instructions;
    const most = door.next > here ? Math.min(until, door.next) : until;
    const exit = await machine.run({ instructions: most - here, timeout: (deadline - portableClock.now()) / 1e9 });
    this.#log.known = Math.max(this.#log.known, machine.instructions);
    if (door.isOver || (exit.kind !== 'stopped' && exit.kind !== 'timeout')) this.#ended = exit;
    return exit;
  }

  // ── snapshots ───────────────────────────────────────────────────────────────────────────────────────────────────────

  keep(on: boolean): void {
    this.#isKept = on;
  }
  get isOver(): boolean {
    return this.#now.door.isOver;
  }
  /** Of the machine as it is now. */
  get engine(): Engine {
    return this.#now.engine;
  }
  /** Bytes that the guest has written to its console up to here. */
  get written(): number {
    return this.#now.screen.written;
  }
  #keepIfDue(): void {
    if (!this.#isKept) {
      this.#kept.length = 0;
      return;
    }
    if (this.#isChanged || this.#kept.length === 0) this.#begin();
    else if (portableClock.now() - this.#keptAt > WORTH * this.#cost) this.#keepHere();
  }
  /** The history begins here. */
  #begin(): void {
    this.#isChanged = false;
    this.#kept.length = 0;
    this.#now.door.begin();
    this.#log.known = this.#instructions;
    this.#shown = this.#now.screen.written;
    this.#keepHere();
  }
  #keepHere(): void {
    const started = portableClock.now();
    const { machine, door, screen } = this.#now;
    const { instructions } = machine;
    const before = this.#before(instructions + 1);
    if (before?.instructions !== instructions) {
      const snapshot = machine.snapshot({ like: before?.snapshot ?? this.#first });
      const own = ownBytes(snapshot, before?.snapshot);
      const disks = this.#contents;
      const kept = { instructions, snapshot, door: door.here(), written: screen.written, disks, own };
      this.#kept.splice(before ? this.#kept.indexOf(before) + 1 : 0, 0, kept);
      this.#thinOut();
    }
    this.#keptAt = portableClock.now();
    this.#cost = this.#keptAt - started;
  }
  /** The last one before a place. */
  #before(instructions: number): Kept | undefined {
    return this.#kept.findLast(kept => kept.instructions < instructions);
  }
  /** Drops those whose neighbours are close, as seen from the end of the run: so gaps grow with the distance from it. */
  #thinOut(): void {
    const kept = this.#kept;
    while (kept.length > 2 && (kept.length > MOST_KEPT || this.#bytes > MOST_BYTES)) {
      const gap = (index: number) =>
        (kept[index + 1]!.instructions - kept[index - 1]!.instructions) /
        Math.max(1, this.#log.known - kept[index]!.instructions);
      let least = 1;
      for (let index = 2; index < kept.length - 1; index++) if (gap(index) < gap(least)) least = index;
      kept.splice(least, 1);
      const [before, after] = [kept[least - 1]!, kept[least]!];
      after.own = ownBytes(after.snapshot, before.snapshot);
    }
  }
  /** What they have in memory together, besides the first. */
  get #bytes(): number {
    return this.#kept.reduce((sum, { own }, index) => sum + (index > 0 ? own : 0), 0);
  }

  // ── the way back ────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * The machine stands at a place that it has come by, or comes by.
   * @throws Error if the history begins later, or the run does not repeat
   */
  async goTo(instructions: number): Promise<void> {
    this.#keepIfDue();
    const first = this.#kept[0]?.instructions ?? Number.POSITIVE_INFINITY;
    if (instructions < first) throw new Error(`the history begins at instruction ${first}, not at ${instructions}`);
    await this.#goTo(instructions);
  }

  async back(how: 'step' | 'continue'): Promise<'stopped' | 'beginning' | 'interrupted'> {
    this.#stopping = false;
    this.#stop = undefined;
    const here = this.#instructions;
    const [first] = this.#kept;
    if (!first || this.#isChanged || here <= first.instructions) return 'beginning';
    if (how === 'continue') return this.#backToStop(here);
    await this.#goTo(here - 1);
    this.#stop = { kind: 'step', processor: this.#now.target.current };
    return 'stopped';
  }

  async #backToStop(here: number): Promise<'stopped' | 'beginning' | 'interrupted'> {
    const [first] = this.#kept;
    const isWanted = this.#addresses.size > 0 || this.#watchpoints.length > 0;
    for (let end = here, span = SPAN; isWanted && end > first!.instructions; span *= 4) {
      if (end - this.#before(end)!.instructions > 2 * span) {
        await this.#goTo(end - span);
        this.#keepHere();
      }
      const from = this.#before(end)!;
      const found = await this.#lastStop(from, end);
      if (this.#stopping) {
        await this.#goTo(here);
        return 'interrupted';
      }
      if (found) {
        await this.#arriveAt(found);
        return 'stopped';
      }
      end = from.instructions;
    }
    await this.#goTo(first!.instructions);
    return 'beginning';
  }
  /** The last stop on the way from a snapshot to a place, which is not part of it. */
  async #lastStop(from: Kept, end: number): Promise<{ stop: StopReason; at: number } | undefined> {
    await this.#make(from);
    this.#setStops();
    let last: { stop: StopReason; at: number } | undefined;
    const { core } = this.#now.engine;
    // Who goes back comes to a write from the other side: it is about to be executed.
    core.breakpoints.onPass = stop => {
      last = { stop, at: core.instructions };
    };
    while (this.#instructions < end && !this.#ended && !this.#stopping)
      await this.#leg(Math.min(end, this.#instructions + LEG));
    core.breakpoints.onPass = undefined;
    return last;
  }
  #setStops(): void {
    this.#now.target.setBreakpoints(this.#addresses, this.#watchpoints);
  }
  async #arriveAt({ stop, at }: { stop: StopReason; at: number }): Promise<void> {
    if (stop.kind === 'watchpoint') await this.#goTo(at);
    else {
      // An interrupt may come at the same place, before the breakpoint: its own stop says which of the two it is.
      await this.#goTo(Math.max(this.#kept[0]!.instructions, at - 1));
      this.#setStops();
      for (;;) {
        await this.#leg(at + 1);
        const again = this.#now.target.takeStop();
        if (again && this.#instructions === at) break;
        if (this.#ended || this.#instructions > at)
          throw new Error('the run does not repeat: there is no stop any more');
      }
    }
    this.#stop = stop;
  }
  /** The machine stands at a place. */
  async #goTo(instructions: number): Promise<void> {
    const from = this.#before(instructions + 1)!;
    const here = this.#instructions;
    if (this.#ended || here > instructions || here < from.instructions) await this.#make(from);
    this.#now.target.setBreakpoints(new Set(), []);
    this.#now.target.takeStop();
    if (instructions - this.#instructions > FAR) {
      await this.#goOnTo(instructions - NEAR);
      this.#keepHere();
    }
    await this.#goOnTo(instructions);
  }
  async #goOnTo(instructions: number): Promise<void> {
    while (this.#instructions < instructions) {
      const exit = await this.#leg(instructions);
      if (exit.kind !== 'stopped') throw new Error(`the run does not repeat: the guest ends (${exit.kind})`);
    }
  }
}
