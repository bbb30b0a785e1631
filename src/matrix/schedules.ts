/** One cell under several schedules: what is said of it when each has been run. */
import { plural } from './format.ts';
import { type CellResult, isGood } from './result.ts';

export interface SeededResult {
  seed: number;
  result: CellResult;
}

/** Seeds that are named; there may be thousands. */
const MOST_NAMED = 20;

/**
 * @param runs at least one
 * @param command what repeats the cell under a seed
 * @returns the first red result, or else the first, with what became of all of them
 */
export function foldSchedules(runs: readonly SeededResult[], command: (seed: number) => string): CellResult {
  const red = redSeeds(runs.map(({ seed, result }) => ({ seed, ...result })));
  const { seed, result } = runs.find(({ seed }) => seed === red[0]) ?? runs[0]!;
  const schedules = runs.map(({ seed, result: { verdict, reason, total } }) => ({
    seed,
    verdict,
    reason,
    instructions: total.instructions,
  }));
  if (red.length === 0) return { ...result, schedules };
  const reason = `schedule ${seed}: ${result.reason}; ${describeRed(red, runs.length)}`;
  return { ...result, reason, schedules, repeat: result.repeat ?? command(seed) };
}

/** Seeds of the runs that went wrong, in order. */
export function redSeeds(runs: readonly Pick<CellResult & { seed: number }, 'seed' | 'verdict'>[]): number[] {
  return runs.filter(({ verdict }) => !isGood(verdict)).map(({ seed }) => seed);
}

/** `2 of 20 schedules are red: 3, 17`. */
export function describeRed(red: readonly number[], count: number): string {
  const more = red.length > MOST_NAMED ? ', …' : '';
  const verb = red.length === 1 ? 'is' : 'are';
  return `${red.length} of ${plural(count, 'schedule')} ${verb} red: ${red.slice(0, MOST_NAMED).join(', ')}${more}`;
}
