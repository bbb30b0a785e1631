/**
 * Guest time, as devices and hypervisors see it: nanoseconds since the machine's start, as a double (exact for 104 days).
 * Whether it follows the host or is counted in executed instructions is decided in ../clock.ts.
 */
export interface Clock {
  /** Nanoseconds since the machine was started. Never goes back. */
  now(): number;
  /** The wall-clock time (Unix epoch, in nanoseconds as a bigint) that `now() === 0` stands for. */
  readonly epoch: bigint;
  /**
   * Makes the timer `name`, which is off. Make timers when the machine is built, and all of them: a snapshot knows a deadline by
   * its timer's name, and `fire` must be there when it is restored.
   * @throws Error if the clock has a timer of that name
   */
  timer(name: string, fire: () => void): Timer;
  /** Calls `fire` once when `now()` has reached `at`; in the past means: at the next chance. To be replaced by `timer`. */
  alarm(at: number, fire: () => void): Alarm;
}

/** One deadline, and what happens then. Deadlines are data; simultaneous ones fire in the order in which they were set. */
export interface Timer {
  /** Sets the deadline, also of a timer that is set already: fires once when `now()` has reached `time`. */
  at(time: number): void;
  off(): void;
  /** The deadline; undefined when the timer is off, which it is again when it fires. */
  readonly due: number | undefined;
}

export interface Alarm {
  cancel(): void;
}

/** Where time comes from. A host's clock follows the wall. */
export interface HostClock {
  /** Monotonic nanoseconds. */
  now(): number;
  /** The Unix epoch in nanoseconds. */
  wall(): bigint;
}
