/** Counts of what a guest does that leaves translated code: exits by kind and ops by name. */

/** One count. An object, so that whoever counts often looks it up once. */
export interface Count {
  value: number;
}

export class Counts {
  readonly #counts = new Map<string, Count>();

  /** The count of that name, made when it is first asked for. */
  of(name: string): Count {
    let count = this.#counts.get(name);
    if (!count) this.#counts.set(name, (count = { value: 0 }));
    return count;
  }

  /** The counts that are not zero. @param others what was counted elsewhere */
  named(others: Iterable<readonly [name: string, value: number]> = []): Record<string, number> {
    const sums = new Map([...this.#counts].map(([name, { value }]) => [name, value]));
    for (const [name, value] of others) sums.set(name, (sums.get(name) ?? 0) + value);
    return Object.fromEntries([...sums].filter(([, value]) => value !== 0));
  }
}

/** The sums, by name, of what several have counted. */
export function sumOf(all: readonly Record<string, number>[]): Record<string, number> {
  const sums = new Map<string, number>();
  for (const [name, value] of all.flatMap(counts => Object.entries(counts)))
    sums.set(name, (sums.get(name) ?? 0) + value);
  return Object.fromEntries(sums);
}
