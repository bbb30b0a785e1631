/** What a benchmark is, and what one says. */

/** One figure of one benchmark: the same thing done by us and by the peers that are there, in the same run. */
export interface Row {
  name: string;
  /** Seconds, one an attempt, by who did it; `polyvisor` first. */
  seconds: Record<string, number[]>;
}

export interface BenchContext {
  /** Attempts a peer. */
  runs: number;
  /** Says what goes on. */
  progress(text: string): void;
  /** Something the reader of the table should know, such as a peer that is not there. */
  note(text: string): void;
}

export interface Bench {
  name: string;
  title: string;
  run(context: BenchContext): Promise<Row[]>;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
