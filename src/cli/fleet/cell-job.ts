/** A cell as it goes through the queue: what it is told, with digests in the place of files; and what is said of it. */
import { basename } from 'node:path';
import { type Check, optional, shape, text } from '../../matrix/shape.ts';
import type { CellProgress, CellSpec } from '../cell.ts';
import { readInput } from '../input-file.ts';
import { isDigest, type Store } from './store.ts';

/** Paths of a CellSpec that a worker has elsewhere. */
const FILES = ['kernelFile', 'initrdFile', 'hypervisorFile'] as const;
type FileName = (typeof FILES)[number];

export interface CellJob {
  run: string;
  spec: CellSpec;
  files: Partial<Record<FileName, string>>;
}

/** What a worker answers: where the result is, and who it is. */
export interface CellAnswer {
  result: string;
  worker: string;
}

/** What a worker says of a cell while it runs. */
export interface CellNews {
  worker: string;
  progress?: CellProgress | undefined;
}

const digest: Check = isDigest;
const isJob = shape({
  run: text,
  spec: shape({ kernel: text, hypervisor: text, kernelFile: text, script: text }),
  files: shape({ kernelFile: digest, initrdFile: optional(digest), hypervisorFile: optional(digest) }),
});
const isAnswerShape = shape({ result: digest, worker: text });
const isNewsShape = shape({ worker: text });

export const isCellJob = (value: unknown): value is CellJob => isJob(value);
export const isCellAnswer = (value: unknown): value is CellAnswer => isAnswerShape(value);
export const isCellNews = (value: unknown): value is CellNews => isNewsShape(value);

/** Puts the files of the cells into the store, each once. @throws Failure */
export async function jobsOf(run: string, specs: readonly CellSpec[], store: Store): Promise<CellJob[]> {
  const known = new Map<string, string>();
  const keep = async (path: string) => {
    const name = known.get(path) ?? (await store.put(readInput(path)));
    known.set(path, name);
    return name;
  };
  const jobs: CellJob[] = [];
  for (const spec of specs) {
    const files: CellJob['files'] = {};
    for (const file of FILES) if (spec[file] !== undefined) files[file] = await keep(spec[file]);
    jobs.push({ run, spec, files });
  }
  return jobs;
}

/** The cell as it runs here, its files written by `write`. */
export async function specHere(
  { spec, files }: CellJob,
  write: (digest: string, name: string) => Promise<string>,
): Promise<CellSpec> {
  const here: CellSpec = { ...spec, traceFile: undefined, recordingFile: undefined };
  for (const file of FILES) {
    const name = files[file];
    if (name === undefined) continue;
    // A hypervisor's kind is told by the end of its name.
    here[file] = await write(name, basename(spec[file] ?? ''));
  }
  return here;
}
