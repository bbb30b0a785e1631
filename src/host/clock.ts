/**
 * Guest time, as devices see it. Nanoseconds since the machine's start, as a double: exact for 104 days. Whether it follows
 * the wall or is counted in executed instructions is nobody's business here: see machine.ts.
 */
export interface Clock {
  /** Nanoseconds since the machine was started. Never goes back. */
  now(): number;
  /** The wall-clock time (Unix epoch, in nanoseconds as a bigint) that `now() === 0` stands for. */
  readonly epoch: bigint;
  /** Calls `fire` once when `now()` has reached `at`; in the past means: at the next chance. */
  alarm(at: number, fire: () => void): Alarm;
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
