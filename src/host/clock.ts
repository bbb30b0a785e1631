/**
 * Guest time, as devices and hypervisors see it: nanoseconds since the machine's start, as a double (exact for 104
 * days). Whether it follows the host or is counted in executed instructions is decided in ../clock.ts.
 */
export interface Clock {
  /** Nanoseconds since the machine was started. Never goes back. */
  now(): number;
  /** The wall-clock time (Unix epoch, in nanoseconds as a bigint) that `now() === 0` stands for. */
  readonly epoch: bigint;
  /**
   * Makes the timer `name`, which is off. Make timers when the machine is built, and all of them: a snapshot knows a
   * deadline by its timer's name, and `fire` must be there when it is restored.
   * @throws Error if the clock has a timer of that name
   */
  timer(name: string, fire: () => void): Timer;
}

/**
 * One deadline, and what happens then. Deadlines are data; simultaneous ones fire in the order in which they were set.
 */
export interface Timer {
  /** Sets the deadline, also of a timer that is set already: fires once when `now()` has reached `time`. */
  at(time: number): void;
  off(): void;
  /** The deadline; undefined when the timer is off, which it is again when it fires. */
  readonly due: number | undefined;
}

/** The host's time, and the ways to let it pass. The machine has no timer but these. */
export interface HostClock {
  /** Monotonic nanoseconds. */
  now(): number;
  /** The time since the Unix epoch, in nanoseconds. */
  wall(): bigint;
  /** Lets the host's event loop turn once, so that input and messages arrive. */
  turn(): Promise<void>;
  /** Lets the host do other things for so many nanoseconds. */
  sleep(nanoseconds: number): Sleep;
}

export interface Sleep {
  /** Fulfilled when the time is over, or when `wake` was called. */
  readonly over: Promise<void>;
  /** Ends the sleep now. */
  wake(): void;
}
