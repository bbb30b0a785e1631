/** The waist's view of a processor (paravirt/processor.ts), fulfilled by the engine. */

import type { Clock } from '../host/clock.ts';
import type { Log } from '../host/log.ts';
import type { GuestMemory } from '../memory/memory.ts';
import { CELLS } from '../paravirt/fast-paths.ts';
import type {
  Exception,
  InterruptSource,
  Processor,
  RegisterName,
  Segment,
  SegmentName,
} from '../paravirt/processor.ts';
import { CR0_PE, CR0_PG, CR0_WP, EFER_LMA, EFER_LME } from '../x86/control.ts';
import { RF, TF } from '../x86/flags.ts';
import { CS, DS, ES, FS, GS, LDTR, SS, TR } from '../x86/segments.ts';
import * as vectors from '../x86/vectors.ts';
import { deliver as deliverFault } from './faults.ts';
import { cellsOf } from './hypervisor-paths.ts';
import type { Vcpu } from './vcpu.ts';
import {
  ACCESS_EXECUTE,
  ACCESS_IMPLICIT,
  ACCESS_PROBE,
  ACCESS_QUIET,
  ACCESS_USER,
  ACCESS_WRITE,
} from './x86/access.ts';
import { isStepping, setCr0, setCr3, setCr4, setDebug, switchRoot } from './x86/control.ts';
import { FAULT } from './x86/cpu.ts';
import { deliver } from './x86/event-delivery.ts';
import { readElement, WAIST, writeElement } from './x86/registers.ts';
import { setSegment } from './x86/segments.ts';
import { state } from './x86/state.ts';
import { rootSpace } from './x86/tlb.ts';

const SEGMENTS: Record<SegmentName, number> = {
  es: ES,
  cs: CS,
  ss: SS,
  ds: DS,
  fs: FS,
  gs: GS,
  ldtr: LDTR,
  tr: TR,
};
const CR0_CACHED = CR0_PG | CR0_WP | CR0_PE;

export interface ProcessorServices {
  clock: Clock;
  log: Log;
  tsc: Processor['tsc'];
  kill(reason: string): void;
  request(what: 'power-off' | 'reset' | 'crash', reason?: string): void;
}

export class EngineProcessor implements Processor {
  readonly id: number;
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly log: Log;
  readonly tsc: Processor['tsc'];
  /** Set by whoever gives out the turns. */
  waited = 0;
  /** Interrupts that processors have sent to it. */
  ipis = 0;
  interrupts: InterruptSource | undefined;
  readonly cells: Uint32Array;
  readonly kill: (reason: string) => void;
  readonly request: (what: 'power-off' | 'reset' | 'crash', reason?: string) => void;
  readonly #vcpu: Vcpu;

  constructor(vcpu: Vcpu, services: ProcessorServices) {
    this.id = vcpu.index;
    this.#vcpu = vcpu;
    this.memory = vcpu.core.memory;
    this.cells = new Uint32Array(vcpu.cpu.words.buffer, cellsOf(vcpu.index), CELLS);
    this.clock = services.clock;
    this.log = services.log;
    this.tsc = services.tsc;
    this.kill = services.kill;
    this.request = services.request;
  }

  noteIpi(): void {
    this.ipis++;
  }

  get cpl(): number {
    return this.#vcpu.cpu.cpl;
  }
  get mode(): number {
    return this.#vcpu.cpu.mode;
  }

  get(register: RegisterName): bigint {
    const { cpu } = this.#vcpu;
    switch (register) {
      case 'rip':
        return cpu.ip;
      case 'flags':
        return BigInt(cpu.flags >>> 0);
      case 'cr8':
        return BigInt(cpu.environment.taskPriority());
      default:
        return readElement(cpu, WAIST[register]);
    }
  }

  set(register: RegisterName, value: bigint): void {
    const { cpu } = this.#vcpu;
    value = BigInt.asUintN(64, value);
    switch (register) {
      case 'rip':
        cpu.ip = value;
        return;
      case 'flags':
        cpu.flags = Number(value & 0xffffffffn) | 2;
        // The instruction that follows clears it: where it is not executed by itself, at once.
        if (!isStepping(cpu)) cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~RF);
        cpu.updateBank();
        // From here on instructions are executed one by one.
        if (value & BigInt(TF)) this.#vcpu.requestExit();
        return;
      case 'cr8':
        cpu.environment.setTaskPriority(Number(value));
        return;
      case 'cr0': {
        // Paging and protection bits may be set at once, in whatever order the caller sets EFER and CR4.
        const old = cpu.get32(state.CR0);
        const wanted = Number(value & 0xffffffffn);
        if ((old ^ wanted) & CR0_CACHED && wanted & CR0_PE) {
          const efer = cpu.get64(state.EFER);
          cpu.set64(state.CR0, value);
          if (wanted & CR0_PG && efer & BigInt(EFER_LME)) cpu.set64(state.EFER, efer | BigInt(EFER_LMA));
          cpu.tlb.flushAll();
          cpu.updateMode();
          cpu.updateUnits();
          cpu.updateBank();
        } else this.#raw(() => setCr0(cpu, wanted));
        return;
      }
      case 'cr3':
        return this.#raw(() => setCr3(cpu, value));
      case 'cr4':
        return this.#raw(() => setCr4(cpu, value));
      case 'efer':
        cpu.set64(state.EFER, value);
        cpu.tlb.flushAll();
        cpu.updateMode();
        return;
      case 'xcr0':
        cpu.set64(state.XCR0, value);
        return cpu.updateUnits();
      case 'dr7':
        return setDebug(cpu, 7, value);
      default:
        writeElement(cpu, WAIST[register], value);
    }
  }
  /** An architectural check that fails here is our mistake, not the guest's. */
  #raw(change: () => void): void {
    try {
      change();
    } catch (thrown) {
      if (thrown !== FAULT) throw thrown;
      this.#vcpu.cpu.set32(state.FAULT, 0);
      throw new Error('a control register was given a value that the architecture refuses');
    }
  }

  segment(name: SegmentName): Segment {
    const { cpu } = this.#vcpu;
    const index = SEGMENTS[name];
    return {
      selector: cpu.selector(index),
      base: cpu.segmentBase(index),
      limit: cpu.get32(state.SEGMENT_LIMIT + 4 * index),
      attributes: cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * index),
    };
  }
  setSegment(name: SegmentName, value: Segment): void {
    const { cpu } = this.#vcpu;
    const ip = name === 'cs' ? cpu.ip : 0n;
    setSegment(cpu, SEGMENTS[name], value.selector, value.base, value.limit, value.attributes);
    if (name === 'cs') {
      cpu.setCpl(value.selector & 3 && cpu.protectedMode ? value.selector & 3 : 0);
      cpu.updateMode();
      cpu.ip = ip;
    } else if (name === 'ss') cpu.updateMode();
  }

  translate(linear: bigint, access: { write?: boolean; user?: boolean; execute?: boolean } = {}): number | Exception {
    const { cpu } = this.#vcpu;
    const bits =
      (access.write ? ACCESS_WRITE : 0) |
      (access.user ? ACCESS_USER : ACCESS_IMPLICIT) |
      (access.execute ? ACCESS_EXECUTE : 0) |
      ACCESS_PROBE;
    const physical = this.#walk(linear, bits);
    if (physical >= 0n) return Number(physical);
    const vector = cpu.get32(state.FAULT) & 0xff;
    const code = cpu.get32(state.FAULT_CODE);
    cpu.set32(state.FAULT, 0);
    return vector === vectors.PF ? { vector, code, address: linear } : { vector, code };
  }
  /** Guest-physical address or -1, without a word. */
  #find(linear: bigint, write: boolean, user: boolean): number {
    const bits = (write ? ACCESS_WRITE : 0) | (user ? ACCESS_USER : ACCESS_IMPLICIT) | ACCESS_PROBE | ACCESS_QUIET;
    return Number(this.#walk(linear, bits));
  }
  #walk(linear: bigint, access: number): bigint {
    const { core, cpu } = this.#vcpu;
    return core.as(this.#vcpu, () => cpu.functions.walk(BigInt.asUintN(64, linear), access));
  }
  read(linear: bigint, length: number, access: { user?: boolean } = {}): Uint8Array | undefined {
    const out = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = linear + BigInt(done);
      const part = Math.min(length - done, 4096 - Number(at & 4095n));
      const physical = this.#find(at, false, access.user ?? false);
      if (physical < 0 || !this.memory.has(physical, part)) return undefined;
      out.set(this.memory.bytes.subarray(physical, physical + part), done);
      done += part;
    }
    return out;
  }
  write(linear: bigint, data: Uint8Array, access: { user?: boolean } = {}): boolean {
    const pieces: [physical: number, from: number, to: number][] = [];
    for (let done = 0; done < data.length; ) {
      const at = linear + BigInt(done);
      const part = Math.min(data.length - done, 4096 - Number(at & 4095n));
      const physical = this.#find(at, true, access.user ?? false);
      if (physical < 0 || !this.memory.has(physical, part)) return false;
      pieces.push([physical, done, done + part]);
      done += part;
    }
    for (const [physical, from, to] of pieces) this.memory.copyIn(physical, data.subarray(from, to));
    return true;
  }

  raise(exception: Exception): void {
    this.#vcpu.core.as(this.#vcpu, () => deliverFault(this.#vcpu, exception));
  }
  interrupt(vector: number): void {
    this.#vcpu.core.as(this.#vcpu, () => this.#interrupt(vector));
  }
  #interrupt(vector: number): void {
    const { cpu } = this.#vcpu;
    this.#vcpu.countDelivery();
    try {
      deliver(cpu, vector, undefined, 'external');
    } catch (thrown) {
      if (thrown !== FAULT) throw thrown;
      const second = cpu.get32(state.FAULT) & 0xff;
      const code = cpu.get32(state.FAULT_CODE);
      cpu.set32(state.FAULT, 0);
      deliverFault(this.#vcpu, {
        vector: second,
        code,
        ...(second === vectors.PF ? { address: cpu.get64(state.CR2) } : {}),
      });
    }
  }
  invalidatePage(linear: bigint): void {
    this.#vcpu.tlb.invalidate(BigInt.asUintN(64, linear));
  }
  flush(global: boolean): void {
    if (global) this.#vcpu.tlb.flushAll();
    else this.#vcpu.tlb.flush(false);
  }
  switchRoot(cr3: bigint): void {
    switchRoot(this.#vcpu.cpu, cr3);
  }
  flushRoot(cr3: bigint): void {
    this.#vcpu.tlb.drop(rootSpace(cr3));
  }

  stepWithWritable(page: number): boolean {
    const vcpu = this.#vcpu;
    const before = vcpu.deliveries;
    vcpu.stepWithWritable(page);
    return vcpu.deliveries === before;
  }
  halt(untilPending = false): void {
    this.#vcpu.halt(untilPending);
    this.#vcpu.requestExit();
  }
  get halted(): boolean {
    return this.#vcpu.halted;
  }
  wake(): void {
    this.#vcpu.halted = false;
    this.#vcpu.stir();
  }
  attention(): void {
    this.#vcpu.requestExit();
  }

  get started(): boolean {
    return !this.#vcpu.waitsForStart;
  }
  start(): void {
    this.#vcpu.start();
  }
  stop(): void {
    this.#vcpu.stop();
  }
  get running(): boolean {
    return this.#vcpu.core.running === this.#vcpu && !this.#vcpu.halted;
  }
  yield(): void {
    this.#vcpu.giveAway();
  }
  nmi(): void {
    this.#vcpu.cpu.set32(state.NMI_PENDING, 1);
    this.#vcpu.requestExit();
  }
}
