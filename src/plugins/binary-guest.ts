/** One machine as a binary sees it: what the imports work on. Everything the binary hands over is checked here. */
import type { Alarm } from '../host/clock.ts';
import type { HypervisorContext } from '../paravirt/operations.ts';
import { type Processor, REGISTERS, type RegisterName, SEGMENTS, type SegmentName } from '../paravirt/processor.ts';
import type { Frame } from './abi.ts';
import { shortened } from './guard.ts';

/** Typed bytes kept for console_read; what comes beyond is lost, as in a UART. */
const TYPED = 4096;
const ALARMS = 1024;
const RANGES = 256;

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
  readonly #alarms = new Map<number, Alarm>();
  #lastAlarm = 0;
  #ranges = 0;
  #typed: number[] | undefined;

  constructor(file: string, context: HypervisorContext, memory: () => WebAssembly.Memory, events: Events) {
    this.#file = file;
    this.context = context;
    this.#memory = memory;
    this.#events = events;
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
    if (this.#alarms.size >= ALARMS) throw new Error(`set_alarm: ${ALARMS} alarms are set already`);
    const id = ++this.#lastAlarm;
    const fire = () => {
      this.#alarms.delete(id);
      this.#events.alarm(token);
    };
    this.#alarms.set(id, this.context.clock.alarm(at, fire));
    return id;
  }
  cancelAlarm(id: number): void {
    this.#alarms.get(id)?.cancel();
    this.#alarms.delete(id);
  }

  /** @returns 1, or 0 where the range is not to be had. */
  claim(what: 'ports' | 'mmio', start: bigint, size: bigint, token: number): number {
    const [first, last] = what === 'ports' ? [0n, 1n << 16n] : [BigInt(this.context.memory.size), 1n << 52n];
    if (size === 0n || start < first || start + size > last) return 0;
    if (++this.#ranges > RANGES) throw new Error(`claims more than ${RANGES} ranges`);
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
    if (!this.#typed) {
      const typed: number[] = [];
      this.#typed = typed;
      this.context.console.onInput(data => void typed.push(...data.subarray(0, TYPED - typed.length)));
    }
    const taken = this.#typed.splice(0, into.length);
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
