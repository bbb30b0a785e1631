/** The loop: timers that are due, the guest, and what is to be done when it stops. */
import type { Exit } from '../exits.ts';
import type { HostClock, Sleep } from '../host/clock.ts';
import type { RunLimits } from './options.ts';
import type { Parts, ProcessorParts } from './parts.ts';

/** Most instructions between two looks at a host's clock, and between two turns of the event loop on the virtual one. */
const HOST_SLICE = 200_000;
const VIRTUAL_SLICE = 50 * HOST_SLICE;
/** Host time between two turns of the event loop, in nanoseconds. */
const TURN_EVERY = 8_000_000;
/** The same while a network may send by itself. */
const NETWORK_TURN_EVERY = 1_000_000;
/** Sleeps that are shorter are not worth it, in nanoseconds. */
const SHORTEST_SLEEP = 50_000;
/** Guest time until the next timer, in nanoseconds, in which something that takes the host 20 ms is not noticed. */
const LONG_SLEEP = 100_000_000;
/** The longest sleep on the host at once, in nanoseconds. */
const LONGEST_SLEEP = 1_000_000_000;

export class RunLoop {
  readonly #parts: Parts;
  readonly #host: HostClock;
  #stopping = false;
  #sleep: Sleep | undefined;
  /** Host time spent in earlier calls of `run`, in nanoseconds, and when the present one began. */
  #earlierTime = 0;
  #started: number | undefined;
  /** Host time while the guest was halted, in nanoseconds. */
  haltedTime = 0;
  /** What the host took while the guest wanted to execute, in nanoseconds. */
  stolenTime = 0;

  constructor(parts: Parts, host: HostClock) {
    this.#parts = parts;
    this.#host = host;
  }

  /** Host time spent in `run`, the present call included, in nanoseconds. */
  get hostTime(): number {
    return this.#earlierTime + (this.#started === undefined ? 0 : this.#host.now() - this.#started);
  }

  async run(limits: RunLimits): Promise<Exit> {
    const started = this.#host.now();
    this.#started = started;
    try {
      return await this.#loop(limits, started);
    } finally {
      this.#earlierTime = this.hostTime;
      this.#started = undefined;
    }
  }

  async #loop(
    { timeout = Number.POSITIVE_INFINITY, instructions = Number.POSITIVE_INFINITY }: RunLimits,
    started: number,
  ): Promise<Exit> {
    const { core, ending, time, network } = this.#parts;
    const host = this.#host;
    const deadline = started + timeout * 1e9;
    const last = core.instructions + instructions;
    let turned = started;
    this.#stopping = false;
    for (;;) {
      time.clock.run();
      if (ending.exit) return this.#finish(ending.exit);
      if (this.#stopping) return this.#finish({ kind: 'stopped' });

      const why = this.#runGuest(last);
      if (ending.exit) return this.#finish(ending.exit);
      if (core.instructions >= last || core.breakpoints.stop) return this.#finish({ kind: 'stopped' });

      if (why === 'halt' && !(await this.#idle())) return this.#finish({ kind: 'dead-halt' });

      const now = host.now();
      if (now > deadline) return this.#finish({ kind: 'timeout' });
      if (now - turned > (network.awaits ? NETWORK_TURN_EVERY : TURN_EVERY)) {
        await host.turn();
        turned = host.now();
      }
    }
  }

  /** Executes instructions until the next timer is due, a slice is over, or the guest needs something. */
  #runGuest(last: number) {
    const { core, time, network, scheduler } = this.#parts;
    const { clock, virtual, following } = time;
    const before = scheduler.latest;
    const next = scheduler.next();
    const longest = network.awaits ? HOST_SLICE : VIRTUAL_SLICE;
    const slice = following ? Math.min(following.slice(), HOST_SLICE) : Math.min(clock.next - clock.now(), longest);
    this.#tellStolen(before);
    if (!next) return 'halt';
    const { vcpu } = next;
    const most = scheduler.instructionsFor(slice);
    const left = last - core.instructions;
    const until = vcpu.instructions + Math.ceil(Math.min(most, left));
    // No timer of the host's waits for a certain instruction, so that a slice may end a little before.
    const exactly = virtual !== undefined || left <= most;
    const why = until > vcpu.instructions ? vcpu.run(until, exactly) : 'budget';
    // Others may be able to execute though this one is halted.
    return core.vcpus.length > 1 ? 'budget' : why;
  }

  /** All processors are halted: waits until something may wake it. @returns false if nothing ever will */
  async #idle(): Promise<boolean> {
    const { core, time, input, network, processors, scheduler } = this.#parts;
    const { clock, virtual, following } = time;
    // One that has been woken and is held up by the schedule waits for its release, as time goes on.
    const woken = processors.find(({ vcpu, interrupts }) => vcpu.halted && !vcpu.waitsForStart && interrupts.awakens);
    if (woken) {
      woken.vcpu.halted = false;
      return true;
    }
    const deaf = processors.every(({ vcpu, interrupts }) => vcpu.waitsForStart || interrupts.deaf) && !scheduler.holds;
    const listened = input.listened || network.awaits;
    if (deaf || (clock.next === Number.POSITIVE_INFINITY && !listened)) return false;
    const before = this.#host.now();
    if (following) {
      const left = clock.next - following.idle();
      if (left > LONG_SLEEP) core.jit?.save();
      if (left > SHORTEST_SLEEP) await this.#sleepFor(clock.next - following.idle());
      following.idle();
    } else if (network.awaits && virtual) {
      // What a network waits for takes the host's time: the guest's must not run ahead, or it gives up waiting.
      await this.#sleepFor(clock.next - clock.now());
      virtual.skipTo(Math.min(clock.next, clock.now() + this.#host.now() - before));
    } else if (clock.next < Number.POSITIVE_INFINITY) virtual?.skipTo(clock.next);
    else await this.#sleepFor(LONGEST_SLEEP);
    this.haltedTime += this.#host.now() - before;
    return true;
  }

  /** Sleeps on the host, or until somebody types or stops the machine. */
  async #sleepFor(nanoseconds: number): Promise<void> {
    this.#sleep = this.#host.sleep(Math.min(nanoseconds, LONGEST_SLEEP));
    await this.#sleep.over;
    this.#sleep = undefined;
  }

  /**
   * A hypervisor may tell its guest what the host took of it.
   * @param whose turn it was: those that awaited theirs are told so by the scheduler
   */
  #tellStolen({ processor, questions }: ProcessorParts): void {
    const stolen = this.#parts.time.following?.takeStolen() ?? 0;
    if (stolen === 0) return;
    this.stolenTime += stolen;
    processor.waited += stolen;
    questions.resumed?.(stolen);
  }

  #finish(exit: Exit): Exit {
    const { board, core, network } = this.#parts;
    board?.flush();
    if (exit.kind !== 'stopped') {
      core.close();
      network.close();
    }
    return exit;
  }

  stop(): void {
    this.#stopping = true;
    this.wake();
  }

  /** Somebody wants something of the machine: the guest's current slice or sleep ends. */
  wake(): void {
    this.#parts.core.running.requestExit();
    this.#sleep?.wake();
  }
}
