/** The log: one line the first time something unusual is asked for, by number; tests can assert that it is empty. */
export interface Log {
  /** Notes `text` the first time `key` is seen and is silent afterwards. */
  once(key: string, text: string): void;
  readonly lines: readonly string[];
}

/** Lines that are kept: a guest that tries all numbers there are is not worth one for each. */
const CAPACITY = 10_000;

export function createLog(sink: (line: string) => void = () => {}): Log {
  const seen = new Set<string>();
  const lines: string[] = [];
  const add = (text: string) => {
    lines.push(text);
    sink(text);
  };
  return {
    lines,
    once(key, text) {
      if (seen.size >= CAPACITY || seen.has(key)) return;
      seen.add(key);
      add(text);
      if (seen.size === CAPACITY) add('the log is full: nothing more is noted');
    },
  };
}
