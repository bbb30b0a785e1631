/** The seeds of `run --schedule A-B`. */
import { LARGEST_SEED } from '../machine/schedule.ts';
import { Failure } from './failure.ts';

/** Seeds one after the other, both ends among them. */
export interface Seeds {
  first: number;
  last: number;
}

/** `A-B`; undefined for what is none. @throws Failure for seeds that there are not */
export function parseSeeds(text: string): Seeds | undefined {
  const [, first, last] = /^(\d+)-(\d+)$/.exec(text)?.map(Number) ?? [];
  if (first === undefined || last === undefined) return undefined;
  if (first > last || last > LARGEST_SEED)
    throw new Failure(`--schedule ${text}: the first seed, a hyphen, and the last one, up to ${LARGEST_SEED}`);
  return { first, last };
}
