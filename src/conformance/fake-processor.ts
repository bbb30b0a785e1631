/**
 * A processor without an engine: registers in a map, memory in an array, time that moves when the test says so. What a
 * hypervisor does to it (exceptions, interrupts, kills) is written down for the test to read. Page tables are a map
 * from virtual to physical page numbers; without one, addresses are physical.
 */
import type { EntryState } from '../boot/entry.ts';
import { ManualClock } from '../devices/manual-clock.ts';
import { NO_BACK_ENDS } from '../host/back-ends.ts';
import { createLog } from '../host/log.ts';
import { Bus } from '../memory/bus.ts';
import { GuestMemory } from '../memory/memory.ts';
import { CELLS } from '../paravirt/fast-paths.ts';
import type { HypervisorContext } from '../paravirt/operations.ts';
import type {
  Exception,
  InterruptSource,
  Processor,
  RegisterName,
  Segment,
  SegmentName,
} from '../paravirt/processor.ts';
import { StateStore, type StateTree } from '../state/state.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import * as vectors from '../x86/vectors.ts';

const PAGE = BigInt(PAGE_SIZE);

/** Guest time that only a test moves. */
export class FakeClock extends ManualClock {
  constructor(states?: StateStore) {
    super(1_700_000_000_000_000_000n, states);
  }
}

/** A local APIC reduced to what its pins show: one interrupt in service blocks those of its class and below. */
export class FakeInterrupts implements InterruptSource {
  readonly id: number;
  readonly requested = new Set<number>();
  readonly inService: number[] = [];

  constructor(id = 0) {
    this.id = id;
  }

  pending(): boolean {
    return this.#best() !== undefined;
  }

  acknowledge(): number {
    const vector = this.#best();
    if (vector === undefined) return -1;
    this.requested.delete(vector);
    this.inService.push(vector);
    return vector;
  }

  request(vector: number): void {
    this.requested.add(vector);
  }

  /** Fixed interrupts and NMIs are all that it knows. */
  accept(mode: number, vector: number): boolean {
    if (mode === 0) this.request(vector);
    else if (mode === 4) this.nmis++;
    else return false;
    return true;
  }
  /** Non-maskable interrupts that have come. */
  nmis = 0;

  endOfInterrupt(): void {
    this.inService.pop();
  }

  /** As KVM: only where nothing else waits for this one's end. */
  canDeferEndOfInterrupt(): boolean {
    return this.inService.length === 1 && this.requested.size === 0;
  }

  taskPriority = 0;

  #command = 0n;
  get interruptCommand(): bigint {
    return this.#command;
  }
  /** Fixed interrupts arrive here, whomever they are for: there is no other processor. */
  set interruptCommand(value: bigint) {
    this.#command = value;
    if ((value & 0x700n) === 0n && (value & 0xffn) >= 16n) this.request(Number(value & 0xffn));
  }

  /** From here on as `other` is. */
  restore(other: FakeInterrupts): void {
    this.requested.clear();
    for (const vector of other.requested) this.requested.add(vector);
    this.inService.splice(0, this.inService.length, ...other.inService);
    this.taskPriority = other.taskPriority;
    this.#command = other.#command;
  }

  #best(): number | undefined {
    const floor = (this.inService.at(-1) ?? 0) >> 4;
    return [...this.requested].sort((a, b) => b - a).find(vector => vector >> 4 > floor);
  }
}

export class FakeProcessor implements Processor {
  readonly id: number;
  readonly memory: GuestMemory;
  /** Of the machine: the clock's, and those that a hypervisor makes through `fakeContext`. */
  readonly states = new StateStore();
  readonly clock: FakeClock;
  readonly log = createLog();
  readonly interrupts: FakeInterrupts | undefined;
  readonly tsc: Processor['tsc'];
  /** What the guest has added to its time-stamp counter. */
  tscOffset = 0n;

  /** False: it waits to be started, as all processors but the first do at first. */
  started: boolean;
  readonly cells = new Uint32Array(CELLS);
  halted = false;
  running = true;
  waited = 0;
  ipis = 0;
  cpl = 0;
  mode = 64;
  /** Virtual to physical page numbers, with rights; undefined: addresses are physical. */
  pages: Map<bigint, { page: number; write?: boolean; user?: boolean; execute?: boolean }> | undefined;

  /** What was done to this processor, in order. */
  readonly raised: Exception[] = [];
  readonly delivered: number[] = [];
  readonly kills: string[] = [];
  readonly requests: string[] = [];
  /** Calls without a result that a test may count: 'halt', 'wake', 'attention', 'flush global', 'invalidate 1000' … */
  readonly events: string[] = [];
  /** Set by a test that expects `stepWithWritable`. */
  onStep: ((page: number) => boolean) | undefined;

  #registers = new Map<RegisterName, bigint>();
  #segments = new Map<SegmentName, Segment>();

  constructor(options: { id?: number; memory?: number | GuestMemory; clock?: FakeClock; tscFrequency?: number } = {}) {
    const memory = options.memory ?? 1 << 20;
    this.id = options.id ?? 0;
    this.interrupts = new FakeInterrupts(this.id);
    this.started = this.id === 0;
    this.memory = typeof memory === 'number' ? new GuestMemory(new ArrayBuffer(memory), 0, memory) : memory;
    this.clock = options.clock ?? new FakeClock(this.states);
    const frequency = options.tscFrequency ?? 2_500_000_000;
    const at = (time: number) => BigInt.asUintN(64, BigInt(Math.floor((time * frequency) / 1e9)) + this.tscOffset);
    this.tsc = { frequency, at, read: () => at(this.clock.now()) };
  }

  /** Registers, interrupts, and what was done to this processor: a copy. */
  save() {
    const { requested, inService, taskPriority, interruptCommand } = this.interrupts!;
    const { raised, delivered, kills, requests, events, cpl, mode, started, halted } = this;
    return structuredClone({
      registers: this.#registers,
      segments: this.#segments,
      interrupts: { requested, inService, taskPriority, interruptCommand },
      events: { raised, delivered, kills, requests, events },
      cpl,
      mode,
      started,
      halted,
      tscOffset: this.tscOffset,
    });
  }

  /** From here on as `other` is, with the same memory and the states `saved`. */
  restore(other: FakeProcessor, saved: StateTree): void {
    this.#registers = new Map(other.#registers);
    this.#segments = structuredClone(other.#segments);
    this.interrupts!.restore(other.interrupts!);
    this.memory.copyIn(0, other.memory.bytes);
    this.cpl = other.cpl;
    this.mode = other.mode;
    this.started = other.started;
    this.halted = other.halted;
    this.tscOffset = other.tscOffset;
    for (const list of ['raised', 'delivered', 'kills', 'requests', 'events'] as const)
      this[list].splice(0, this[list].length, ...(other[list] as never[]));
    this.states.restore(saved);
    this.clock.restored();
  }

  get(register: RegisterName): bigint {
    return this.#registers.get(register) ?? 0n;
  }

  set(register: RegisterName, value: bigint): void {
    this.#registers.set(register, BigInt.asUintN(64, value));
  }

  segment(name: SegmentName): Segment {
    return this.#segments.get(name) ?? { selector: 0, base: 0n, limit: 0, attributes: 0 };
  }

  setSegment(name: SegmentName, value: Segment): void {
    this.#segments.set(name, value);
  }

  translate(linear: bigint, access: { write?: boolean; user?: boolean; execute?: boolean } = {}): number | Exception {
    const address = BigInt.asUintN(64, linear);
    const flags =
      (access.write ? vectors.PAGE_FAULT_WR : 0) |
      (access.user ? vectors.PAGE_FAULT_US : 0) |
      (access.execute ? vectors.PAGE_FAULT_ID : 0);
    if (!this.pages) {
      return address < BigInt(this.memory.size) ? Number(address) : { vector: vectors.PF, code: flags, address };
    }
    const entry = this.pages.get(address / PAGE);
    if (!entry) return { vector: vectors.PF, code: flags, address };
    if (
      (access.write && entry.write === false) ||
      (access.user && entry.user === false) ||
      (access.execute && entry.execute === false)
    )
      return { vector: vectors.PF, code: flags | vectors.PAGE_FAULT_P, address };
    return entry.page * Number(PAGE) + Number(address % PAGE);
  }

  read(linear: bigint, length: number, access: { user?: boolean } = {}): Uint8Array | undefined {
    const out = new Uint8Array(length);
    const runs = this.#runs(linear, length, access);
    if (!runs) return undefined;
    for (const { physical, at, size } of runs) out.set(this.memory.bytes.subarray(physical, physical + size), at);
    return out;
  }

  write(linear: bigint, data: Uint8Array, access: { user?: boolean } = {}): boolean {
    const runs = this.#runs(linear, data.length, { ...access, write: true });
    if (!runs) return false;
    for (const { physical, at, size } of runs) this.memory.copyIn(physical, data.subarray(at, at + size));
    return true;
  }

  /** The physical pieces of a virtual range; undefined if any of it is not accessible. */
  #runs(linear: bigint, length: number, access: { write?: boolean; user?: boolean }) {
    const runs: { physical: number; at: number; size: number }[] = [];
    for (let at = 0; at < length; ) {
      const address = linear + BigInt(at);
      const size = Math.min(length - at, Number(PAGE - (BigInt.asUintN(64, address) % PAGE)));
      const physical = this.translate(address, access);
      if (typeof physical !== 'number' || !this.memory.has(physical, size)) return undefined;
      runs.push({ physical, at, size });
      at += size;
    }
    return runs;
  }

  raise(exception: Exception): void {
    this.raised.push(exception);
  }
  interrupt(vector: number): void {
    this.delivered.push(vector);
  }
  invalidatePage(linear: bigint): void {
    this.events.push(`invalidate ${linear.toString(16)}`);
  }
  flush(global: boolean): void {
    this.events.push(global ? 'flush global' : 'flush');
  }
  switchRoot(cr3: bigint): void {
    this.set('cr3', cr3);
    this.events.push(`root ${cr3.toString(16)}`);
  }
  flushRoot(cr3: bigint): void {
    this.events.push(`flush root ${cr3.toString(16)}`);
  }
  stepWithWritable(page: number): boolean {
    this.events.push(`step ${page.toString(16)}`);
    return this.onStep?.(page) ?? true;
  }
  halt(untilPending = false): void {
    this.halted = true;
    this.events.push(untilPending ? 'halt until pending' : 'halt');
  }
  wake(): void {
    this.halted = false;
    this.events.push('wake');
  }
  attention(): void {
    this.events.push('attention');
  }
  start(): void {
    this.started = true;
    this.events.push('start');
  }
  stop(): void {
    this.started = false;
    this.events.push('stop');
  }
  yield(): void {
    this.events.push('yield');
  }
  noteIpi(): void {
    this.ipis++;
  }
  nmi(): void {
    this.events.push('nmi');
  }
  kill(reason: string): void {
    this.kills.push(reason);
  }
  request(what: 'power-off' | 'reset' | 'crash', reason?: string): void {
    this.requests.push(reason === undefined ? what : `${what}: ${reason}`);
  }
}

/** Processors of one machine, which all have been started. @param memory of the machine, in bytes */
export function fakeProcessors(count: number, memory = 1 << 20): [FakeProcessor, ...FakeProcessor[]] {
  const first = new FakeProcessor({ memory });
  const others = Array.from({ length: count - 1 }, (_, index) => {
    const cpu = new FakeProcessor({ id: index + 1, memory: first.memory, clock: first.clock });
    cpu.started = true;
    return cpu;
  });
  return [first, ...others];
}

/** What a boot request's `natively` does where there is no board: nothing. */
export const noFirmware = (): EntryState => ({ registers: {}, segments: {} });

/** What a hypervisor's `make` gets, around `cpus`; `written` is its console's output, `type` its keyboard. */
export interface FakeContext extends HypervisorContext {
  readonly written: number[];
  type(data: Uint8Array): void;
}

/** @param others processors besides, which share the first one's memory and clock (`fakeProcessors`) */
export function fakeContext(cpu = new FakeProcessor(), ...others: readonly FakeProcessor[]): FakeContext {
  const { states } = cpu;
  const written: number[] = [];
  const takers: ((data: Uint8Array) => void)[] = [];
  return {
    cpus: [cpu, ...others],
    memory: cpu.memory,
    clock: cpu.clock,
    state: (name, version, initial) => states.state(name, version, initial),
    log: cpu.log,
    backEnds: NO_BACK_ENDS,
    mmio: new Bus('mmio', cpu.log),
    ports: new Bus('port', cpu.log),
    edge: gsi => void cpu.events.push(`edge ${gsi}`),
    unplug() {},
    console: { write: data => void written.push(...data), onInput: take => void takers.push(take) },
    kill: reason => cpu.kill(reason),
    request: (what, reason) => cpu.request(what, reason),
    written,
    type: data => {
      for (const take of takers) take(data);
    },
  };
}
