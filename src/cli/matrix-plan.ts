/** Digests that tell whether two runs, and the shards of one, do the same. */
import { createHash } from 'node:crypto';
import type { KernelInfo } from '../matrix/result.ts';
import { readInput } from './input-file.ts';
import type { MatrixHypervisor, MatrixSettings } from './matrix-settings.ts';

/** SHA-256 in hexadecimal. */
export const digest = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');
const digestOf = (file: string | undefined) => (file === undefined ? undefined : digest(readInput(file)));

/** The columns as they stand in a report. */
export function describeHypervisors(columns: readonly MatrixHypervisor[]) {
  return columns.map(({ name, title, file }) => ({ name, title, ...(file && { digest: digest(readInput(file)) }) }));
}

/**
 * What decides what a cell does, beside its kernel and its hypervisor: options, and the bytes of the files they name. The default guest's
 * RAM disk is left out: each machine makes its own. So is what may differ from machine to machine: the number of jobs, the time
 * limit, where reports go.
 */
export function settingsDigest(settings: MatrixSettings): string {
  const { initrd, test, until, append, memory, cpus, schedule, seeds, clock, limit, engine, rooted } = settings;
  const files = [initrd, test].map(digestOf);
  return digest(
    JSON.stringify({
      files,
      options: [until, append, memory, cpus, seeds ?? schedule, clock, limit, engine],
      ...(rooted && { root: { ...rooted, environment: [...rooted.environment] } }),
    }),
  );
}

/** The same in all shards of a run: what cells there are, what they do, how they are dealt and judged. */
export function planOf(
  kernels: readonly KernelInfo[],
  columns: ReturnType<typeof describeHypervisors>,
  settings: MatrixSettings,
): string {
  const { baseline, tolerance } = settings;
  return digest(
    JSON.stringify({
      kernels: kernels.map(({ name, digest }) => [name, digest]),
      hypervisors: columns.map(({ name, digest }) => [name, digest]),
      settings: settingsDigest(settings),
      baseline: [digestOf(baseline), tolerance],
    }),
  );
}
