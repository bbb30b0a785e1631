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

  /** The counts that are not zero. */
  named(): Record<string, number> {
    return Object.fromEntries([...this.#counts].flatMap(([name, { value }]) => (value ? [[name, value]] : [])));
  }
}
