/** `matrix --schedules`: each cell becomes a run for each seed, and their results one cell again. */
import type { CellResult } from '../matrix/result.ts';
import { foldSchedules } from '../matrix/schedules.ts';
import type { CellSpec } from './cell.ts';
import type { MatrixKernel } from './matrix-kernels.ts';
import type { MatrixOptions } from './matrix-settings.ts';
import type { Seeds } from './seeds.ts';
import { shellLine } from './shell-words.ts';

/** What is known of a cell before it runs. */
export interface PlannedCell {
  spec: CellSpec;
  /** A result that needs no run. */
  ready: CellResult | undefined;
  /** How long it takes, in any unit. */
  cost: number;
}

export interface SeededRuns {
  runs: PlannedCell[];
  /** Makes the cells' results of those of the runs, which stand in the same order. */
  fold(results: readonly CellResult[]): CellResult[];
}

/** @param seeds undefined: each cell is one run */
export function withSeeds(
  cells: readonly PlannedCell[],
  seeds: Seeds | undefined,
  command: (spec: CellSpec, seed: number) => string,
): SeededRuns {
  if (!seeds) return { runs: [...cells], fold: results => [...results] };
  const all = Array.from({ length: seeds.last - seeds.first + 1 }, (_, index) => seeds.first + index);
  return {
    runs: cells.flatMap(cell =>
      cell.ready ? cell : all.map(schedule => ({ ...cell, spec: under(cell.spec, schedule) })),
    ),
    fold(results) {
      let next = 0;
      return cells.map(({ spec, ready }) => {
        if (ready) return results[next++]!;
        const runs = all.map(seed => ({ seed, result: results[next++]! }));
        return foldSchedules(runs, seed => command(spec, seed));
      });
    },
  };
}

/** Each has a recording of its own. */
function under(spec: CellSpec, schedule: number): CellSpec {
  const { recordingFile } = spec;
  return { ...spec, schedule, recordingFile: recordingFile && `${recordingFile}-${schedule}` };
}

/** Options that decide what a cell does, by their names; those of the clock and of the schedule apart. */
const DECIDING = ['initrd', 'append', 'memory', 'cpus', 'test', 'until', 'engine', 'timeout', 'limit'] as const;

/** The command that runs one cell under one seed. */
export function repeatCommand(options: MatrixOptions, kernel: MatrixKernel, spec: CellSpec, seed: number): string {
  const given = DECIDING.flatMap(name => {
    const value = options[name];
    return value === undefined ? [] : value.startsWith('-') ? [`--${name}=${value}`] : [`--${name}`, value];
  });
  const hypervisor = spec.hypervisorFile ?? spec.hypervisor;
  return shellLine(['polyvisor', 'matrix', kernel.word, '-H', hypervisor, ...given, '--schedule', `${seed}`]);
}
