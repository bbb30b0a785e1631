/** What tells the shards of one run from those of another. */
import { createHash } from 'node:crypto';
import { readInput } from './input-file.ts';
import type { MatrixKernel } from './matrix-kernels.ts';
import type { MatrixSettings } from './matrix-settings.ts';

const digest = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');
const digestOf = (file: string | undefined) => (file === undefined ? null : digest(readInput(file)));

/**
 * A digest of whatever decides what cells do and how they are dealt: the bytes of kernels and of files that options name, and the options.
 * The default guest's RAM disk is left out: each machine makes its own. So is what may differ from machine to machine: the number of
 * jobs, the time limit, where reports go.
 */
export function planOf(kernels: readonly MatrixKernel[], settings: MatrixSettings): string {
  const {
    hypervisors,
    initrd,
    test,
    until,
    append,
    memory,
    cpus,
    schedule,
    clock,
    limit,
    engine,
    baseline,
    tolerance,
  } = settings;
  return digest(
    JSON.stringify({
      kernels: kernels.map(({ name, file }) => [name, digestOf(file)]),
      hypervisors: hypervisors.map(({ name, file }) => [name, digestOf(file)]),
      files: [initrd, test, baseline].map(digestOf),
      options: [until, append, memory, cpus, schedule, clock, limit, engine, tolerance].map(value => value ?? null),
    }),
  );
}
