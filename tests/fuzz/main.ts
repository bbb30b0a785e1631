/**
 * The one door to all fuzzers: `npm run fuzz` lists them, `npm run fuzz -- NAME [--seed N] [--seconds S | --count N] [WORD...]` runs one,
 * `npm run fuzz -- all` each for the same time. Ends with status 1 and the command that repeats it where something is found.
 */
import { parseArgs } from 'node:util';
import type { Fuzzer, Limits } from './fuzzer.ts';
import { fuzzers } from './list.ts';

const SECONDS = 30;

const OPTIONS = {
  seed: { type: 'string' },
  seconds: { type: 'string' },
  count: { type: 'string' },
  help: { type: 'boolean' },
} as const;

const { values, positionals } = (() => {
  try {
    return parseArgs({ allowPositionals: true, options: OPTIONS });
  } catch (error) {
    return usage((error as Error).message);
  }
})();
const [name, ...words] = positionals;
const chosen = name === 'all' ? fuzzers : fuzzers.filter(fuzzer => fuzzer.name === name);
if (values.help || chosen.length === 0) {
  if (name !== undefined && chosen.length === 0) usage(`there is no fuzzer "${name}"`);
  console.log('npm run fuzz -- NAME|all [--seed N] [--seconds S | --count N] [WORD...]\n');
  const width = Math.max(...fuzzers.map(fuzzer => fuzzer.name.length));
  for (const { name, description, words } of fuzzers)
    console.log(`  ${name.padEnd(width)}  ${description}${words ? `; words: ${words}` : ''}`);
  process.exit(0);
}

function usage(problem: string): never {
  console.error(`fuzz: ${problem}; npm run fuzz lists what there is`);
  process.exit(64);
}

const number = (option: 'seed' | 'seconds' | 'count'): number | undefined => {
  const text = values[option];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0 || (option !== 'seconds' && !Number.isInteger(value)))
    usage(`--${option} ${text}: a number is wanted`);
  return value;
};
const count = number('count');
const seed = number('seed') ?? Math.floor(Math.random() * 2 ** 31);
const seconds = number('seconds') ?? (count === undefined ? SECONDS : undefined);

let found = false;
for (const fuzzer of chosen) found = (await runOne(fuzzer, { seed, seconds, count, words })) || found;
process.exit(found ? 1 : 0);

/** @returns true if it found something */
async function runOne(fuzzer: Fuzzer, limits: Limits): Promise<boolean> {
  const lacks = fuzzer.missing?.();
  if (lacks !== undefined) {
    console.log(`${fuzzer.name}: cannot run here: ${lacks}`);
    return false;
  }
  const started = performance.now();
  const { count, next, notes, finding } = await fuzzer.run(limits);
  const time = `${((performance.now() - started) / 1000).toFixed(1)} s`;
  const tried = `${count} inputs from seed ${limits.seed} in ${time}${notes ? `, ${notes}` : ''}`;
  if (!finding) {
    console.log(`${fuzzer.name}: nothing found; ${tried}; next seed ${next}`);
    return false;
  }
  console.log(`${fuzzer.name}: ${finding.reason}\n\n${finding.input}\n\n${tried}. To repeat it:`);
  console.log(`  npm run fuzz -- ${[fuzzer.name, ...limits.words].join(' ')} --seed ${finding.seed} --count 1`);
  return true;
}
