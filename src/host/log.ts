/** The log: one line the first time something unusual is asked for, by number; tests can assert that it is empty. */
export interface Log {
  /** Notes `text` the first time `key` is seen and is silent afterwards. */
  once(key: string, text: string): void;
  readonly lines: readonly string[];
}

export function createLog(sink: (line: string) => void = () => {}): Log {
  const seen = new Set<string>();
  const lines: string[] = [];
  return {
    lines,
    once(key, text) {
      if (seen.has(key)) return;
      seen.add(key);
      lines.push(text);
      sink(text);
    },
  };
}
