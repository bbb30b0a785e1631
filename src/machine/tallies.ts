/** Counts of the ports, registers and hypercalls that a guest asks for: kept by number, and named when they are read. */
import type { CpuOps } from '../paravirt/operations.ts';
import type { Processor } from '../paravirt/processor.ts';

/** Numbers that are counted apart; all further ones share an entry, so that a guest that tries all fills no memory. */
const CAPACITY = 4096;
const OTHERS = -1;

class Tally {
  readonly #counts = new Map<number, number>();

  add(number: number): void {
    const before = this.#counts.get(number);
    if (before !== undefined) this.#counts.set(number, before + 1);
    else if (this.#counts.size < CAPACITY) this.#counts.set(number, 1);
    else this.#counts.set(OTHERS, (this.#counts.get(OTHERS) ?? 0) + 1);
  }

  /** These and others together. */
  and(others: Iterable<readonly [number: number, count: number]>): Tally {
    const sum = new Tally();
    for (const [number, count] of [...this.#counts, ...others])
      if (count) sum.#counts.set(number, (sum.#counts.get(number) ?? 0) + count);
    return sum;
  }

  named(name: (number: number) => string): [name: string, count: number][] {
    return [...this.#counts].map(([number, count]) => [number === OTHERS ? 'others' : name(number), count]);
  }
}

const hexadecimal = (number: number) => `0x${(number >>> 0).toString(16)}`;

/** @param native names of the processor's registers, for those that the hypervisor does not name */
export function createTallies(
  { convention, hypercalls, msrs }: CpuOps,
  native: Readonly<Record<number, { name: string }>>,
) {
  const tallies = { in: new Tally(), out: new Tally(), read: new Tally(), write: new Tally() };
  const calls = new Tally();
  const msr = (index: number) => msrs[index]?.name ?? native[index]?.name ?? hexadecimal(index);
  return {
    ...tallies,
    /** A hypercall, or what came the same way, is about to be made. @returns whether it is a hypercall */
    hypercall(cpu: Processor): boolean {
      const number = convention ? convention.number(cpu) : Number(BigInt.asUintN(32, cpu.get('rax')));
      if (number === undefined) return false;
      calls.add(number);
      return true;
    },
    /** @param elsewhere hypercalls that were counted elsewhere, by number */
    named(elsewhere: Iterable<readonly [number: number, count: number]> = []) {
      const called = calls.and(elsewhere);
      return {
        ports: Object.fromEntries([
          ...tallies.in.named(port => `in ${hexadecimal(port)}`),
          ...tallies.out.named(port => `out ${hexadecimal(port)}`),
        ]),
        msrs: Object.fromEntries([
          ...tallies.read.named(index => `read ${msr(index)}`),
          ...tallies.write.named(index => `write ${msr(index)}`),
        ]),
        hypercalls: Object.fromEntries(called.named(number => hypercalls[number]?.name ?? `hypercall ${number}`)),
      };
    },
  };
}
