/** A machine as a debugger sees it (debug/target.ts). */
import type { StopReason, Target, WatchedAccess } from '../debug/target.ts';
import { lookUp } from '../engine/x86/quiet-walk.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import { DEBUG_REGISTERS } from './debug-registers.ts';
import { activity, describe } from './describe.ts';
import type { Parts } from './parts.ts';

/** A step that executes nothing at first, for code is decoded or an event comes before it. */
const MOST_TURNS = 16;

export class DebugTarget implements Target {
  readonly registers = DEBUG_REGISTERS;
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
    // On a host's clock a tick is due whenever a person has looked at something.
    parts.core.breakpoints.holdsInterrupts = parts.time.following !== undefined;
  }

  get processors(): number {
    return this.#parts.processors.length;
  }
  get current(): number {
    return this.#parts.core.running.index;
  }
  takeStop(): StopReason | undefined {
    const { breakpoints } = this.#parts.core;
    const { stop } = breakpoints;
    breakpoints.stop = undefined;
    breakpoints.stepping = undefined;
    return stop;
  }

  readRegister(index: number, register: number): Uint8Array | undefined {
    const description = DEBUG_REGISTERS[register];
    const parts = this.#parts.processors[index];
    if (!description || !parts) return undefined;
    const value = description.read(parts.vcpu.cpu, parts.processor);
    return Uint8Array.from({ length: description.bits / 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
  }
  writeRegister(index: number, register: number, bytes: Uint8Array): boolean {
    const description = DEBUG_REGISTERS[register];
    const parts = this.#parts.processors[index];
    if (!description || !parts || bytes.length !== description.bits / 8) return false;
    const { cpu } = parts.vcpu;
    const value = bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
    if (value === description.read(cpu, parts.processor)) return true;
    if (!description.write) return false;
    try {
      this.#parts.core.as(parts.vcpu, () => description.write!(value, cpu, parts.processor));
      return true;
    } catch {
      return false; // The architecture refuses the value.
    }
  }

  /** Pieces of [address, address + length), each within a page; ends where nothing is mapped, or no RAM. */
  *#pieces(index: number, address: bigint, length: number): Generator<{ physical: number; from: number; to: number }> {
    const { core } = this.#parts;
    const parts = this.#parts.processors[index];
    if (!parts) return;
    for (let from = 0; from < length; ) {
      const linear = BigInt.asUintN(64, address + BigInt(from));
      const to = Math.min(length, from + PAGE_SIZE - Number(linear % BigInt(PAGE_SIZE)));
      const physical = lookUp(parts.vcpu.cpu, linear);
      if (physical < 0 || !core.isRam(physical) || !core.memory.has(physical, to - from)) return;
      yield { physical, from, to };
      from = to;
    }
  }
  readMemory(index: number, address: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let end = 0;
    for (const { physical, from, to } of this.#pieces(index, address, length)) {
      bytes.set(this.#parts.core.memory.bytes.subarray(physical, physical + to - from), from);
      end = to;
    }
    return bytes.subarray(0, end);
  }
  writeMemory(index: number, address: bigint, bytes: Uint8Array): boolean {
    const pieces = [...this.#pieces(index, address, bytes.length)];
    if ((pieces.at(-1)?.to ?? 0) < bytes.length) return false;
    for (const { physical, from, to } of pieces) this.#parts.core.memory.copyIn(physical, bytes.subarray(from, to));
    return true;
  }

  setBreakpoints(
    addresses: ReadonlySet<bigint>,
    watchpoints: readonly { readonly kind: WatchedAccess; readonly address: bigint; readonly length: number }[],
  ): void {
    this.#parts.core.setBreakpoints(addresses, watchpoints);
  }
  step(index: number): boolean {
    const { core, time, ending } = this.#parts;
    const { breakpoints } = core;
    const { vcpu } = this.#parts.processors[index]!;
    time.clock.run();
    breakpoints.stepping = vcpu;
    if (vcpu.halted || ending.exit) return false;
    core.switchTo(vcpu);
    const until = vcpu.instructions + 1;
    for (let turn = 0; turn < MOST_TURNS && !breakpoints.stop && !vcpu.halted && !ending.exit; turn++) vcpu.run(until);
    return breakpoints.stop !== undefined;
  }

  activity(index: number): string {
    const { vcpu } = this.#parts.processors[index]!;
    return activity(vcpu).replace(/^, /, '') || 'executes';
  }
  describe(): string {
    return describe(this.#parts.processors);
  }
  operations(): string {
    const counts = Object.entries(this.#parts.operations.named()).filter(([, count]) => count > 0);
    counts.sort(([, a], [, b]) => b - a);
    return counts.map(([name, count]) => `${name.padEnd(28)} ${count}`).join('\n') || 'none was asked';
  }
}
