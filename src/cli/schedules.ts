/**
 * `run --schedule A-B`: the same run under one seed after the other, each in a process of its own. Those that end badly are
 * named, with the command that repeats each.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import { parseSeeds, type Seeds } from './seeds.ts';
import { parseSettings, type RunOptions } from './settings.ts';
import { shellLine } from './shell-words.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Options that name a file for one run's results: each run would write over those of the last. */
const FOR_ONE_RUN = [
  ['save', '--save'],
  ['restore', '--restore'],
  ['trace', '--trace'],
  ['json', '--json'],
  ['netDump', '--net-dump'],
  ['vsock', '--vsock'],
  ['serial', '--serial'],
] as const;

/**
 * @param words of the command line, without the program
 * @returns the status of the first run that ended with another one than 0
 */
export async function runSchedules(options: RunOptions, words: readonly string[]): Promise<number> {
  const seeds = parseSeeds(options.schedule)!;
  check(options, seeds);
  const red: number[] = [];
  let first: number = status.ok;
  let done = 0;
  for (let seed = seeds.first; seed <= seeds.last; seed++) {
    const command = withSeed(words, options.schedule, seed);
    const { ended, signal } = await runOnce(command);
    if (signal) return 128 + constants.signals[signal];
    done++;
    if (ended === status.ok) continue;
    first ||= ended;
    if (isOfAllRuns(ended, options)) return ended;
    red.push(seed);
    say(`schedule ${seed} ended with status ${ended}; once more: ${shellLine(['polyvisor', ...command])}`);
  }
  const schedules = `${done} schedule${done === 1 ? '' : 's'}`;
  say(
    red.length > 0
      ? `${red.length} of ${schedules} ended badly: ${red.join(', ')}`
      : `${schedules} ended with status 0`,
  );
  return first;
}

function check(options: RunOptions, { first }: Seeds): void {
  const range = `--schedule ${options.schedule}`;
  for (const [name, option] of FOR_ONE_RUN)
    if (options[name] !== undefined)
      throw new Failure(`${range}: ${option} is for one run: give it with the seed that you are after`);
  const { clock, disks } = parseSettings({ ...options, schedule: String(first) });
  if (clock !== 'virtual')
    throw new Failure(`${range}: with the host's clock no seed repeats itself: add --clock virtual`);
  const changing = disks.find(({ readOnly }) => !readOnly);
  if (changing)
    throw new Failure(
      `${range}: each run would find what the last one has written to ${changing.path}: add ",ro" to --disk`,
    );
}

/** What is wrong with a file or the host is so with every seed; with --exec, though, the status may be the guest's. */
const isOfAllRuns = (ended: number, { exec }: RunOptions) =>
  ended === status.brokenPipe || (exec === undefined && ended >= status.usage && ended <= status.inUse);

/** Where a value of another option looks like this one, the seed comes last: then it counts, too. */
function withSeed(words: readonly string[], range: string, seed: number): string[] {
  const isRange = (word: string, index: number) =>
    word === `--schedule=${range}` || (word === range && words[index - 1] === '--schedule');
  if (words.filter(isRange).length !== 1) return [...words, '--schedule', String(seed)];
  return words.map((word, index) => {
    if (!isRange(word, index)) return word;
    return word === range ? String(seed) : `--schedule=${seed}`;
  });
}

/** Nothing can be typed: a second run would not get it. */
function runOnce(words: readonly string[]): Promise<{ ended: number; signal?: (typeof SIGNALS)[number] }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...words], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    let told: (typeof SIGNALS)[number] | undefined;
    const tell = (signal: NodeJS.Signals) => {
      told ??= SIGNALS.find(known => known === signal);
      child.kill(signal);
    };
    for (const signal of SIGNALS) process.on(signal, tell);
    child.on('error', reject);
    child.on('close', (code, killer) => {
      for (const signal of SIGNALS) process.off(signal, tell);
      resolve({ ended: code ?? 128 + constants.signals[killer!], ...(told && { signal: told }) });
    });
  });
}

const say = (line: string) => void process.stderr.write(`polyvisor: ${line}\n`);
