/**
 * What stands between Xen's interface and the one below: time, timers, the console and processors as Xen's own code knows them,
 * made of the services below (paravirt/services.ts). Its timers have one interrupt a processor; its messages to processors are
 * interrupts, too.
 */
import type { Clock } from '../../host/clock.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { DelegatingProcessor } from '../../paravirt/delegating-processor.ts';
import type { HypervisorContext, Paravirt } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { SERVICE_VECTORS, type Services, servicePages } from '../../paravirt/services.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import { servicesOf } from '../services.ts';

/** Timers of Xen's that are a processor's; others are those of devices, which are not ours. */
const PROCESSOR_TIMER = /^xen-(?:singleshot|periodic|poll)-(\d+)$/;

interface ShimState {
  /** It waits in a hypercall. An interrupt from below alone does not end that. */
  blocked: boolean;
  /** When its timers are due, by name, in nanoseconds. */
  dues: Map<string, number>;
}

export class Shim {
  readonly services: Services;
  readonly below: HypervisorContext;
  readonly #base: Paravirt;
  readonly #states: readonly State<ShimState>[];
  readonly #fires = new Map<string, () => void>();
  readonly #takers: ((data: Uint8Array) => void)[] = [];

  constructor(context: HypervisorContext, base: Paravirt) {
    this.below = context;
    this.#base = base;
    this.#states = perProcessor(context, 'xen-on', 1, () => ({ blocked: false, dues: new Map<string, number>() }));
    this.services = servicesOf({ context, base, page: number => this.#ramEnd + number * PAGE_SIZE });
  }

  /** The top of RAM is the shim's. */
  get #ramEnd(): number {
    return this.below.memory.size - servicePages(this.below.cpus.length) * PAGE_SIZE;
  }

  /** The processor that executes now: on whose behalf something is asked. */
  get current(): Processor {
    return this.below.cpus.find(({ running }) => running) ?? this.below.cpus[0]!;
  }

  stateOf({ id }: Processor): State<ShimState> {
    return this.#states[id]!;
  }

  /** The machine as Xen's own code sees it. */
  context(): HypervisorContext {
    const { memory, cpus } = this.below;
    const ram = new GuestMemory(memory.bytes.buffer, memory.origin, this.#ramEnd);
    ram.onWrite = (address, length) => memory.onWrite(address, length);
    const clock = this.#clock();
    return {
      ...this.below,
      memory: ram,
      clock,
      cpus: cpus.map(cpu => new ShimProcessor(cpu, this, ram, clock)),
      console: {
        write: data => this.services.writeConsole(this.current, data),
        onInput: take => void this.#takers.push(take),
      },
    };
  }

  #clock(): Clock {
    const { services } = this;
    const shim = this;
    return {
      now: () => services.now(shim.current),
      get epoch() {
        return services.epoch(shim.current);
      },
      timer(name, fire) {
        const owner = PROCESSOR_TIMER.exec(name);
        if (!owner) return shim.below.clock.timer(name, fire);
        const cpu = shim.below.cpus[Number(owner[1])]!;
        const { dues } = shim.stateOf(cpu);
        shim.#fires.set(name, fire);
        return {
          at(time) {
            shim.stateOf(cpu).dues.set(name, time);
            shim.#arm(cpu);
          },
          off() {
            if (shim.stateOf(cpu).dues.delete(name)) shim.#arm(cpu);
          },
          get due() {
            return dues.get(name);
          },
        };
      },
    };
  }

  /** Has the processor's timer below ring when its next one here is due. */
  #arm(cpu: Processor): void {
    const { dues } = this.stateOf(cpu);
    this.services.setTimer(cpu, dues.size === 0 ? undefined : Math.min(...dues.values()));
  }

  /** Takes the interrupts that have come from below. */
  takeInterrupts(cpu: Processor): void {
    const { catchUp, delivered } = this.#base.irq;
    const { interrupts } = cpu;
    while (interrupts?.pending()) {
      const vector = interrupts.acknowledge();
      if (vector < 0) break;
      if (typeof delivered === 'function') delivered(cpu, vector);
      if (vector === SERVICE_VECTORS.timer) this.#ring(cpu);
      else if (vector === SERVICE_VECTORS.console) this.#type(cpu);
      this.services.endOfInterrupt(cpu);
      if (typeof catchUp === 'function') catchUp(cpu);
    }
  }

  #ring(cpu: Processor): void {
    const { dues } = this.stateOf(cpu);
    const now = this.services.now(cpu);
    for (const [name, due] of [...dues].toSorted(([, a], [, b]) => a - b)) {
      if (due > now) continue;
      dues.delete(name);
      this.#fires.get(name)?.();
    }
    // It may have rung early.
    this.#arm(cpu);
  }

  #type(cpu: Processor): void {
    const data = this.services.readConsole(cpu);
    if (data.length > 0) for (const take of this.#takers) take(data);
  }
}

/** A processor as Xen's code starts, stops and wakes it. */
class ShimProcessor extends DelegatingProcessor {
  readonly #shim: Shim;
  readonly #memory: GuestMemory;
  readonly #clock: Clock;

  constructor(real: Processor, shim: Shim, memory: GuestMemory, clock: Clock) {
    super(real);
    this.#shim = shim;
    this.#memory = memory;
    this.#clock = clock;
  }
  override get memory(): GuestMemory {
    return this.#memory;
  }
  override get clock(): Clock {
    return this.#clock;
  }
  override halt(): void {
    this.#shim.stateOf(this).blocked = true;
    this.#shim.services.halt(this.real);
  }
  override wake(): void {
    this.#shim.stateOf(this).blocked = false;
    if (!this.#tell()) this.real.wake();
  }
  override attention(): void {
    if (!this.#tell()) this.real.attention();
  }
  override start(): void {
    this.#shim.stateOf(this).blocked = false;
    this.#shim.services.startProcessor(this.#shim.current, this.real);
  }
  override yield(): void {
    this.#shim.services.yield(this.real);
  }
  override request(what: 'power-off' | 'reset' | 'crash', reason?: string): void {
    const { services } = this.#shim;
    if (what === 'power-off') services.powerOff(this.real);
    else if (what === 'reset') services.reset(this.real);
    else super.request(what, reason);
  }

  /** Interrupts the processor if it is another one that executes this. @returns false if not */
  #tell(): boolean {
    const { current, services } = this.#shim;
    if (current.id === this.id) return false;
    services.sendIpi(current, this.real, SERVICE_VECTORS.wake);
    return true;
  }
}
