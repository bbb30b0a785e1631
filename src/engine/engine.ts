/** A core and its first processor, as the machine and the tests use it: what the two offer, in one object. */
import type { GuestMemory } from '../memory/memory.ts';
import type { Exception } from '../paravirt/processor.ts';
import type { Blocks } from './blocks.ts';
import { Core, type CoreOptions } from './core.ts';
import { deliver } from './faults.ts';
import type { Jit } from './jit/jit.ts';
import type { Layout } from './layout.ts';
import type { NativeEvents } from './native-events.ts';
import type { EngineEnvironment, RunExit, Vcpu } from './vcpu.ts';
import type { Cpu } from './x86/cpu.ts';
import { describeExceptions } from './x86/exceptions.ts';
import type { Tlb } from './x86/tlb.ts';

export type { CoreOptions as EngineOptions } from './core.ts';
export type { EngineEnvironment, RunExit } from './vcpu.ts';

export class Engine {
  readonly core: Core;
  readonly vcpu: Vcpu;
  readonly cpu: Cpu;
  readonly tlb: Tlb;
  readonly memory: GuestMemory;
  readonly blocks: Blocks;
  readonly layout: Layout;
  /** Undefined with the interpreter alone. */
  readonly jit: Jit | undefined;

  constructor(ramSize: number, options: CoreOptions = { jit: true }) {
    this.core = new Core(ramSize, options);
    this.vcpu = this.core.running;
    ({ memory: this.memory, blocks: this.blocks, layout: this.layout, jit: this.jit } = this.core);
    ({ cpu: this.cpu, tlb: this.tlb } = this.vcpu);
  }

  get environment(): EngineEnvironment {
    return this.vcpu.environment;
  }
  set environment(environment: EngineEnvironment) {
    this.vcpu.environment = environment;
  }
  get instructions(): number {
    return this.vcpu.instructions;
  }
  /** The last exceptions delivered, newest last, for people. */
  get recent(): string[] {
    return describeExceptions(this.cpu);
  }
  get deliveries(): number {
    return this.vcpu.deliveries;
  }
  countDelivery(): void {
    this.vcpu.countDelivery();
  }
  set native(events: NativeEvents) {
    this.vcpu.native = events;
  }
  get halted(): boolean {
    return this.vcpu.halted;
  }
  halt(): void {
    this.vcpu.halted = true;
  }
  wake(): void {
    this.vcpu.wake();
  }
  run(until: number, exactly = true): RunExit {
    return this.vcpu.run(until, exactly);
  }
  step(): void {
    this.vcpu.step();
  }
  stepWithWritable(page: number): void {
    this.vcpu.stepWithWritable(page);
  }
  deliver(exception: Exception): void {
    deliver(this.vcpu, exception);
  }
  requestExit(): void {
    this.vcpu.requestExit();
  }
  stopForGood(): void {
    this.vcpu.stopForGood();
  }
  reset(): void {
    this.vcpu.reset();
  }
  mapDevice(from: number, to: number): void {
    this.core.mapDevice(from, to);
  }
  close(): void {
    this.core.close();
  }
}
