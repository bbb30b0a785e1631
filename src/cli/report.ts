/** What is said about a run: counters for people, the summary for --json, and the account of an abnormal end. */
import type { Machine, ProcessorStatistics, Statistics } from '../machine/options.ts';
import { jsonText, visible, visibleLine } from '../matrix/escape.ts';
import { type Ending, isAbnormal, reasonOf, statusOf } from './exit-status.ts';
import { writeOutput } from './output-file.ts';

export function describeCounters(statistics: Statistics): string {
  const { instructions, guestTime, hostTime, haltedTime, stolenTime } = statistics;
  const stolen = stolenTime > 0 ? `, taken by the host ${(stolenTime / 1e9).toFixed(3)} s` : '';
  const busy = (hostTime - haltedTime) / 1e9;
  const lines = [
    `hypervisor    ${statistics.hypervisor}`,
    `guest time    ${(guestTime / 1e9).toFixed(3)} s`,
    `host time     ${(hostTime / 1e9).toFixed(3)} s, of which halted ${(haltedTime / 1e9).toFixed(3)} s${stolen}`,
    `instructions  ${instructions.toLocaleString('en')}${busy > 0 ? ` (${(instructions / busy / 1e6).toFixed(1)} million a second)` : ''}`,
  ];
  const table = (title: string, counts: Record<string, number>) => {
    const rows = Object.entries(counts)
      .filter(([, count]) => count > 0)
      .sort(([, a], [, b]) => b - a);
    for (const [index, [name, count]] of rows.entries())
      lines.push(
        `${(index === 0 ? title : '').padEnd(13)} ${name.padEnd(24)} ${count.toLocaleString('en').padStart(14)}`,
      );
  };
  if (statistics.processors.length > 1)
    for (const [index, one] of statistics.processors.entries())
      lines.push(`${(index === 0 ? 'processors' : '').padEnd(13)} ${index}: ${describeProcessor(one)}`);
  table('exits', statistics.exits);
  table('operations', statistics.operations);
  return lines.join('\n');
}

function describeProcessor({ instructions, ranTime, waitedTime, turns, ipis }: ProcessorStatistics): string {
  const seconds = (time: number) => `${(time / 1e9).toFixed(3)} s`;
  const counts = `${instructions.toLocaleString('en')} instructions in ${turns.toLocaleString('en')} turns, ${ipis.toLocaleString('en')} IPIs`;
  return `${counts}, ran ${seconds(ranTime)}, waited ${seconds(waitedTime)}`;
}

/** As the JSON of a run and of a matrix have it. */
export function processorsInSeconds({ processors }: Statistics): ProcessorStatistics[] {
  return processors.map(one => ({ ...one, ranTime: one.ranTime / 1e9, waitedTime: one.waitedTime / 1e9 }));
}

export interface Summary {
  ending: Ending;
  machine: Machine | undefined;
  /** The command's options, for somebody who finds the file alone. */
  options: Record<string, unknown>;
  /** From the process's start, in seconds. */
  wallTime: number;
  /** The guest had booted before (warm-start.ts). */
  warm: boolean;
}

/** Writes what --json promises: all times in seconds. */
export function writeSummary(file: string, { ending, machine, options, wallTime, warm }: Summary): void {
  const statistics = machine?.statistics;
  const summary = {
    polyvisor: 1,
    hypervisor: statistics?.hypervisor,
    options,
    exit: ending.exit,
    ...(ending.signal && { signal: ending.signal }),
    ...(ending.command && { commandStatus: ending.commandStatus ?? null }),
    status: statusOf(ending),
    reason: reasonOf(ending) ?? null,
    wallTime,
    warm,
    ...(statistics && {
      guestTime: statistics.guestTime / 1e9,
      hostTime: statistics.hostTime / 1e9,
      haltedTime: statistics.haltedTime / 1e9,
      stolenTime: statistics.stolenTime / 1e9,
      instructions: statistics.instructions,
      exits: statistics.exits,
      operations: statistics.operations,
      hypercalls: statistics.hypercalls,
      msrs: statistics.msrs,
      ports: statistics.ports,
      processors: processorsInSeconds(statistics),
      networks: statistics.networks,
    }),
    log: machine?.log ?? [],
  };
  writeOutput(file, `${jsonText(summary, 2)}\n`);
}

/**
 * Says on stderr how the run ended, where it needs saying.
 * @param places where the processors are, for an abnormal end
 * @param tail the console's last lines, where the user has not seen them.
 */
export function reportEnding(ending: Ending, places: string, tail: readonly string[]): void {
  const reason = reasonOf(ending);
  if (reason) process.stderr.write(`polyvisor: ${visibleLine(reason)}\n`);
  // What the default guest's /init could not do.
  for (const line of tail.filter(line => ending.commandStatus === undefined && line.startsWith('polyvisor: ')))
    process.stderr.write(`${visibleLine(line)}\n`);
  if (!isAbnormal(ending)) return;
  process.stderr.write(`\n${visible(places)}\n`);
  if (tail.length > 0)
    process.stderr.write(`\nThe console's last lines:\n${tail.map(line => `  ${visibleLine(line)}`).join('\n')}\n`);
}
