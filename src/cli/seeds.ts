/** The seeds of `run --schedule A-B` and `matrix --schedules N`. */
import { LARGEST_SEED } from '../machine/schedule.ts';
import { Failure } from './failure.ts';

/** Seeds one after the other, both ends among them. */
export interface Seeds {
  first: number;
  last: number;
}

/** The most that a cell is run under. */
const MOST_SCHEDULES = 10_000;

/** `20`: the first twenty, from 1; or `A-B`. @throws Failure */
export function parseSchedules(text: string): Seeds {
  const seeds = /^\d+$/.test(text) ? { first: 1, last: Number(text) } : readRange(text);
  if (!seeds || seeds.first > seeds.last || seeds.last > LARGEST_SEED || seeds.last - seeds.first >= MOST_SCHEDULES)
    throw new Failure(
      `--schedules ${text}: how many, from 1 to ${MOST_SCHEDULES}, or the first seed, a hyphen, and the last one, up to ${LARGEST_SEED}`,
    );
  return seeds;
}

/** `A-B`; undefined for what is none. @throws Failure for seeds that there are not */
export function parseSeeds(text: string): Seeds | undefined {
  const seeds = readRange(text);
  if (seeds && (seeds.first > seeds.last || seeds.last > LARGEST_SEED))
    throw new Failure(`--schedule ${text}: the first seed, a hyphen, and the last one, up to ${LARGEST_SEED}`);
  return seeds;
}

function readRange(text: string): Seeds | undefined {
  const [, first, last] = /^(\d+)-(\d+)$/.exec(text)?.map(Number) ?? [];
  return first === undefined || last === undefined ? undefined : { first, last };
}
