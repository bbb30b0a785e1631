/** One machine as a binary sees it: what the imports work on. Everything the binary hands over is checked here. */
import type { Timer } from '../host/clock.ts';
import type { HypervisorContext } from '../paravirt/operations.ts';
import { type Processor, REGISTERS, type RegisterName, SEGMENTS, type SegmentName } from '../paravirt/processor.ts';
import type { State } from '../state/state.ts';
import type { Frame } from './abi.ts';
import { shortened } from './guard.ts';

/** The most typed bytes kept for console_read; what comes beyond is lost, as in a UART. */
const TYPED_LIMIT = 4096;
const ALARMS_LIMIT = 1024;
const RANGES_LIMIT = 256;

/** What changes while the guest runs, besides what the binary keeps in its own memory. */
interface GuestState {
  /** Alarms that are set, by number. */
  alarms: Map<number, { at: number; token: number }>;
  lastAlarm: number;
  ranges: number;
  /** True once the binary has asked for typed bytes: none are kept before. */
  listening: boolean;
  typed: number[];
}

/** What the binary exports for events that are no ops. */
export interface Events {
  alarm(token: number): void;
  read(token: number, offset: number, width: number): number;
  write(token: number, offset: number, width: number, value: number): void;
}

export class BinaryGuest {
  readonly context: HypervisorContext;
  /** The innermost call into the binary. */
  frame: Frame = {};
  readonly #file: string;
  readonly #memory: () => WebAssembly.Memory;
  readonly #events: Events;
  readonly #state: State<GuestState>;
  /** Set to the earliest alarm. */
  readonly #deadline: Timer;

  constructor(file: string, context: HypervisorContext, memory: () => WebAssembly.Memory, events: Events) {
    this.#file = file;
    this.context = context;
    this.#memory = memory;
    this.#events = events;
    this.#state = context.state('binary/guest', 1, () => ({
      alarms: new Map(),
      lastAlarm: 0,
      ranges: 0,
      listening: false,
      typed: [],
    }));
    this.#deadline = context.clock.timer('binary/alarms', () => this.#ring());
    context.console.onInput(data => {
      const { listening, typed } = this.#state;
      if (listening) typed.push(...data.subarray(0, TYPED_LIMIT - typed.length));
    });
  }

  processor(id: number): Processor {
    const cpu = this.context.cpus[id];
    if (!cpu) throw new Error(`there is no processor ${id}`);
    return cpu;
  }
  register(place: number): RegisterName {
    const name = REGISTERS[place];
    if (!name) throw new Error(`there is no register ${place}`);
    return name;
  }
  segment(place: number): SegmentName {
    const name = SEGMENTS[place];
    if (!name) throw new Error(`there is no segment register ${place}`);
    return name;
  }
  vector(vector: number, last: number): number {
    if (vector < 0 || vector > last) throw new Error(`vector ${vector} is not one of 0 to ${last}`);
    return vector;
  }

  /** A piece of the binary's own memory. */
  bytes(at: number, length: number): Uint8Array {
    const { buffer } = this.#memory();
    const [start, size] = [at >>> 0, length >>> 0];
    if (start + size > buffer.byteLength) throw new Error(`names ${size} bytes at ${start}, beyond its own memory`);
    return new Uint8Array(buffer, start, size);
  }
  view(at: number, length: number): DataView {
    const bytes = this.bytes(at, length);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }
  text(at: number, length: number): string {
    return shortened(new TextDecoder().decode(this.bytes(at, length)));
  }
  /** A guest-physical address as a number; undefined unless all of it is RAM. */
  ram(address: bigint, length: number): number | undefined {
    const at = Number(BigInt.asUintN(64, address));
    return this.context.memory.has(at, length) ? at : undefined;
  }

  setAlarm(at: number, token: number): number {
    const state = this.#state;
    if (state.alarms.size >= ALARMS_LIMIT) throw new Error(`set_alarm: ${ALARMS_LIMIT} alarms are set already`);
    state.alarms.set(++state.lastAlarm, { at, token });
    this.#arm();
    return state.lastAlarm;
  }
  cancelAlarm(id: number): void {
    if (this.#state.alarms.delete(id)) this.#arm();
  }

  /** The earliest alarm, of several for one time the one that was set first. */
  #earliest(): { id: number; at: number; token: number } | undefined {
    let earliest: { id: number; at: number; token: number } | undefined;
    for (const [id, { at, token }] of this.#state.alarms)
      if (!earliest || at < earliest.at) earliest = { id, at, token };
    return earliest;
  }

  #arm(): void {
    const earliest = this.#earliest();
    if (!earliest) this.#deadline.off();
    else if (this.#deadline.due !== earliest.at) this.#deadline.at(earliest.at);
  }

  /**
   * The time of the earliest alarm has come. Others of the same time follow; what the binary sets meanwhile waits its
   * turn.
   */
  #ring(): void {
    const { alarms, lastAlarm } = this.#state;
    const now = this.context.clock.now();
    for (let next = this.#earliest(); next && next.at <= now && next.id <= lastAlarm; next = this.#earliest()) {
      alarms.delete(next.id);
      this.#events.alarm(next.token);
    }
    this.#arm();
  }

  /** @returns 1, or 0 where the range is not to be had. */
  claim(what: 'ports' | 'mmio', start: bigint, size: bigint, token: number): number {
    const [first, last] = what === 'ports' ? [0n, 1n << 16n] : [BigInt(this.context.memory.size), 1n << 52n];
    if (size === 0n || start < first || start + size > last) return 0;
    if (++this.#state.ranges > RANGES_LIMIT) throw new Error(`claims more than ${RANGES_LIMIT} ranges`);
    try {
      this.context[what].map(`${this.#file} ${token}`, Number(start), Number(size), {
        read: (offset, width) => this.#events.read(token, offset, width),
        write: (offset, width, value) => this.#events.write(token, offset, width, value),
      });
      return 1;
    } catch {
      return 0; // Taken: the bus says so by throwing.
    }
  }

  takeTyped(into: Uint8Array): number {
    const state = this.#state;
    state.listening = true;
    const taken = state.typed.splice(0, into.length);
    into.set(taken);
    return taken.length;
  }

  log(text: string): void {
    this.context.log.once(`${this.#file} ${text}`, `${this.#file}: ${text}`);
  }
  kill(reason: string): void {
    this.context.kill(`${this.#file}: ${reason}`);
  }
}
