/** A processor that is another one, but for what a subclass says. */
import type { Exception, Processor, RegisterName, Segment, SegmentName } from './processor.ts';

export class DelegatingProcessor implements Processor {
  protected readonly real: Processor;

  constructor(real: Processor) {
    this.real = real;
  }
  get id(): number {
    return this.real.id;
  }
  get memory(): Processor['memory'] {
    return this.real.memory;
  }
  get clock(): Processor['clock'] {
    return this.real.clock;
  }
  get log(): Processor['log'] {
    return this.real.log;
  }
  get tsc(): Processor['tsc'] {
    return this.real.tsc;
  }
  get cells(): Processor['cells'] {
    return this.real.cells;
  }
  get interrupts(): Processor['interrupts'] {
    return this.real.interrupts;
  }
  get cpl(): number {
    return this.real.cpl;
  }
  get mode(): number {
    return this.real.mode;
  }
  get halted(): boolean {
    return this.real.halted;
  }
  get started(): boolean {
    return this.real.started;
  }
  get running(): boolean {
    return this.real.running;
  }
  get waited(): number {
    return this.real.waited;
  }
  get(register: RegisterName): bigint {
    return this.real.get(register);
  }
  set(register: RegisterName, value: bigint): void {
    this.real.set(register, value);
  }
  segment(name: SegmentName): Segment {
    return this.real.segment(name);
  }
  setSegment(name: SegmentName, value: Segment): void {
    this.real.setSegment(name, value);
  }
  translate(linear: bigint, access?: { write?: boolean; user?: boolean; execute?: boolean }): number | Exception {
    return this.real.translate(linear, access);
  }
  read(linear: bigint, length: number, access?: { user?: boolean }): Uint8Array | undefined {
    return this.real.read(linear, length, access);
  }
  write(linear: bigint, data: Uint8Array, access?: { user?: boolean }): boolean {
    return this.real.write(linear, data, access);
  }
  raise(exception: Exception): void {
    this.real.raise(exception);
  }
  interrupt(vector: number): void {
    this.real.interrupt(vector);
  }
  invalidatePage(linear: bigint): void {
    this.real.invalidatePage(linear);
  }
  flush(global: boolean): void {
    this.real.flush(global);
  }
  switchRoot(cr3: bigint): void {
    this.real.switchRoot(cr3);
  }
  flushRoot(cr3: bigint): void {
    this.real.flushRoot(cr3);
  }
  stepWithWritable(page: number): boolean {
    return this.real.stepWithWritable(page);
  }
  halt(untilPending?: boolean): void {
    this.real.halt(untilPending);
  }
  wake(): void {
    this.real.wake();
  }
  attention(): void {
    this.real.attention();
  }
  start(): void {
    this.real.start();
  }
  stop(): void {
    this.real.stop();
  }
  yield(): void {
    this.real.yield();
  }
  nmi(): void {
    this.real.nmi();
  }
  noteIpi(): void {
    this.real.noteIpi();
  }
  kill(reason: string): void {
    this.real.kill(reason);
  }
  request(what: 'power-off' | 'reset' | 'crash', reason?: string): void {
    this.real.request(what, reason);
  }
}

/** The processor while a hypervisor executes on it: at CPL 0 in 64-bit mode, with general registers of its own. */
export class HypervisorProcessor extends DelegatingProcessor {
  readonly #own: Map<RegisterName, bigint>;

  /** @param registers what is not the guest's; CR0 has to say that the processor is in protected mode */
  constructor(real: Processor, registers: Partial<Record<RegisterName, bigint>>) {
    super(real);
    this.#own = new Map(Object.entries({ cr0: 1n, rax: 0n, ...registers }) as [RegisterName, bigint][]);
  }
  override get cpl(): number {
    return 0;
  }
  override get mode(): number {
    return 64;
  }
  override get(register: RegisterName): bigint {
    return this.#own.get(register) ?? super.get(register);
  }
  override set(register: RegisterName, value: bigint): void {
    if (this.#own.has(register)) this.#own.set(register, value);
    else super.set(register, value);
  }
}
