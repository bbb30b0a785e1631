/** The loop: timers that are due, the guest, and what is to be done when it stops. */
import type { Vcpu } from '../engine/vcpu.ts';
import type { Exit } from '../exits.ts';
import type { HostClock, Sleep } from '../host/clock.ts';
import type { Door } from '../replay/door.ts';
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
  /** The same clock for accounts: no reading of it is part of what the guest becomes. */
  readonly #stopwatch: HostClock;
  /** Undefined: nobody records what enters. */
  readonly #door: Door | undefined;
  #stopping = false;
  #sleep: Sleep | undefined;
  /** Host time spent in earlier calls of `run`, in nanoseconds, and when the present one began. */
  #earlierTime = 0;
  #started: number | undefined;
  /** Host time while the guest was halted, in nanoseconds. */
  haltedTime = 0;
  /** What the host took while the guest wanted to execute, in nanoseconds. */
  stolenTime = 0;
  /** Host time in nanoseconds when the event loop last had a turn. */
  turned = 0;

  constructor(parts: Parts, host: HostClock, stopwatch: HostClock = host, door?: Door) {
    this.#parts = parts;
    this.#host = host;
    this.#stopwatch = stopwatch;
    this.#door = door;
  }

  /** Host time spent in `run`, the present call included, in nanoseconds. */
  get hostTime(): number {
    return this.#earlierTime + (this.#started === undefined ? 0 : this.#stopwatch.now() - this.#started);
  }

  async run(limits: RunLimits): Promise<Exit> {
    this.#started = this.#stopwatch.now();
    try {
      return await this.#loop(limits);
    } finally {
      this.#earlierTime = this.hostTime;
      this.#started = undefined;
    }
  }

  async #loop({
    timeout = Number.POSITIVE_INFINITY,
    instructions = Number.POSITIVE_INFINITY,
  }: RunLimits): Promise<Exit> {
    const { core, ending, time, network } = this.#parts;
    const host = this.#host;
    const door = this.#door;
    let isInMidst = door?.midst !== undefined;
    if (!isInMidst) this.turned = host.now();
    // A run that is repeated has the clock of the recorded one, which tells nobody how long the repetition takes.
    const deadline = door?.repeats ? Number.POSITIVE_INFINITY : this.turned + timeout * 1e9;
    const last = core.instructions + instructions;
    this.#stopping = false;
    for (;;) {
      if (door?.isOver) return this.#finish({ kind: 'stopped' });
      if (!isInMidst) {
        network.outside?.run();
        door?.deliver();
        time.clock.run();
        if (ending.exit) return this.#finish(ending.exit);
        if (door ? door.stops(this.#stopping) : this.#stopping) return this.#finish({ kind: 'stopped' });
      }
      isInMidst = false;

      const why = this.#runGuest(last);
      if (ending.exit) return this.#finish(ending.exit);
      if (why === 'paused') return this.#finish({ kind: 'stopped' });
      const isReached = core.instructions >= last || core.breakpoints.stop !== undefined;
      if (door ? door.stops(isReached) : isReached) return this.#finish({ kind: 'stopped' });

      if (why === 'halt' && !(await this.#idle())) return this.#finish({ kind: 'dead-halt' });

      const now = host.now();
      if (now > deadline) return this.#finish({ kind: 'timeout' });
      if (now - this.turned > (this.#awaits ? NETWORK_TURN_EVERY : TURN_EVERY)) {
        await host.turn();
        this.turned = host.now();
      }
    }
  }

  /** Something outside may send by itself. */
  get #awaits(): boolean {
    const { awaits } = this.#parts.network;
    return this.#door ? this.#door.flag(awaits) : awaits;
  }

  /** Executes instructions until the next timer is due, a slice is over, or the guest needs something. */
  #runGuest(last: number) {
    const { core, time, network, scheduler } = this.#parts;
    const { clock, virtual, following } = time;
    const door = this.#door;
    if (door?.midst) {
      const { vcpu } = scheduler.again();
      return this.#repeat(vcpu, door, last, vcpu.instructions === door.midst.instructions);
    }
    const before = scheduler.latest;
    const next = scheduler.next();
    const longest = network.awaits ? HOST_SLICE : VIRTUAL_SLICE;
    const slice = following ? Math.min(following.slice(), HOST_SLICE) : Math.min(clock.next - clock.now(), longest);
    this.#tellStolen(before);
    if (!next) return 'halt';
    const { vcpu } = next;
    const most = scheduler.instructionsFor(slice);
    const left = door?.repeats ? Number.POSITIVE_INFINITY : last - core.instructions;
    const until = vcpu.instructions + Math.ceil(Math.min(most, left));
    const isNothing = until <= vcpu.instructions;
    door?.startSlice(vcpu);
    if (door?.midst && !isNothing) return this.#repeat(vcpu, door, last, false);
    // No timer of the host's waits for a certain instruction, so that a slice may end a little before.
    const exactly = virtual !== undefined || left <= most;
    const why = isNothing ? 'budget' : vcpu.run(until, exactly);
    door?.ran(vcpu);
    // Others may be able to execute though this one is halted.
    return core.vcpus.length > 1 ? 'budget' : why;
  }

  /**
   * Repeats a slice, or what is left of it: up to its end, or less far where the run is to stop.
   * @param wasAtEnd the run was stopped at the slice's last instruction
   */
  #repeat(vcpu: Vcpu, door: Door, last: number, wasAtEnd: boolean) {
    const { core, ending } = this.#parts;
    const { breakpoints } = core;
    const end = door.midst!;
    const until = Math.min(end.instructions, vcpu.instructions + last - core.instructions);
    let why = vcpu.halted ? 'halt' : 'budget';
    // What comes after the last instruction is part of the slice: a debugger's stop may have come before it.
    if (!wasAtEnd || Number(vcpu.cpu.rip & 0xffffffffn) !== end.rip)
      // Where an exit that was asked for comes depends on the tier: the recorded one came at the end.
      do {
        why = vcpu.run(until);
        if (why !== 'attention' || !vcpu.exitAsked) continue;
        end.exitAsked = true;
        vcpu.boundary = false;
      } while (why === 'attention' && vcpu.instructions < until && !ending.exit && !breakpoints.stop);
    const isStopped = breakpoints.stop !== undefined || core.instructions >= last || this.#stopping;
    if (isStopped && !ending.exit) return 'paused';
    if (end.exitAsked) {
      vcpu.boundary = true;
      why = 'attention';
    }
    door.ran(vcpu);
    return core.vcpus.length > 1 ? 'budget' : why;
  }

  /** All processors are halted: waits until something may wake it. @returns false if nothing ever will */
  async #idle(): Promise<boolean> {
    const { core, time, input, processors, scheduler } = this.#parts;
    const { clock, virtual, following } = time;
    // One that has been woken and is held up by the schedule waits for its release, as time goes on.
    const woken = processors.find(({ vcpu, interrupts }) => vcpu.halted && !vcpu.waitsForStart && interrupts.awakens);
    if (woken) {
      woken.vcpu.halted = false;
      return true;
    }
    const deaf = processors.every(({ vcpu, interrupts }) => vcpu.waitsForStart || interrupts.deaf) && !scheduler.holds;
    const next = Math.min(clock.next, this.#door?.wakesAt ?? Number.POSITIVE_INFINITY);
    const awaits = this.#awaits;
    const listened = input.listened || awaits;
    if (deaf || (next === Number.POSITIVE_INFINITY && !listened)) return false;
    const before = this.#host.now();
    if (following) {
      const left = clock.next - following.idle();
      if (left > LONG_SLEEP) core.jit?.save();
      if (left > SHORTEST_SLEEP) await this.#sleepFor(clock.next - following.idle());
      following.idle();
    } else if (awaits && virtual && next === clock.next) {
      // What a network waits for takes the host's time: the guest's must not run ahead, or it gives up waiting.
      await this.#sleepFor(clock.next - clock.now());
      virtual.skipTo(Math.min(clock.next, clock.now() + this.#host.now() - before));
    } else if (next < Number.POSITIVE_INFINITY) virtual?.skipTo(next);
    else await this.#sleepFor(LONGEST_SLEEP);
    this.haltedTime += this.#host.now() - before;
    return true;
  }

  /** Sleeps on the host, or until somebody types or stops the machine. */
  async #sleepFor(nanoseconds: number): Promise<void> {
    const { outside } = this.#parts.network;
    const others = outside ? Math.max(0, outside.next - outside.now()) : Number.POSITIVE_INFINITY;
    this.#sleep = this.#host.sleep(Math.min(nanoseconds, others, LONGEST_SLEEP));
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
      this.#door?.ended(exit.kind);
      core.close();
      network.close();
    }
    return exit;
  }

  stop(): void {
    this.#stopping = true;
    if (this.#door) this.nudge();
    else this.wake();
  }

  /** Something waits for the loop. A slice goes on to its end: where that is must not depend on who is outside. */
  nudge(): void {
    this.#sleep?.wake();
  }

  /** Somebody wants something of the machine: the guest's current slice or sleep ends. */
  wake(): void {
    this.#parts.core.running.requestExit();
    this.#sleep?.wake();
  }
}
