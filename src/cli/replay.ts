/** `polyvisor replay --compare OLD NEW`: where two recordings of one kernel differ first, and how. */
import { basename } from 'node:path';
import { diskCache } from '../host/node/artifact-cache.ts';
import { nodeClock } from '../host/node/clock.ts';
import { workerTranslator } from '../host/node/translator.ts';
import { compareRecordings, type RecordedRun } from '../machine/compare-recordings.ts';
import { visibleLine } from '../matrix/escape.ts';
import { Divergence } from '../replay/journal.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { openDisk } from './disks.ts';
import { replayed } from './doors.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import { print } from './output.ts';
import { showProgress } from './progress.ts';
import { readRecording } from './recording-file.ts';
import { parseDisk, parseHypervisor } from './values.ts';

export interface ReplayOptions {
  compare?: boolean;
  until?: string;
  disk?: string[];
}

/** @returns 0 where they are alike, 1 where they differ. @throws Failure */
export async function replay(files: readonly string[], { compare, until, disk = [] }: ReplayOptions): Promise<number> {
  if (!compare)
    throw new Failure(
      `replay: say --compare OLD NEW; one recording is repeated by "polyvisor run --replay ${files[0]}"`,
    );
  const [older, newer] = files;
  if (older === undefined || newer === undefined || files.length > 2)
    throw new Failure(`--compare: wants two recordings, and ${files.length} are named`);
  if (until === '') throw new Failure('--until: the text is empty');
  const names = basename(older) === basename(newer) ? [older, newer] : [basename(older), basename(newer)];
  if (names[0] === names[1]) names[1] = `${names[1]} (again)`;
  const runs = [await runOf(older, names[0]!, disk), await runOf(newer, names[1]!, disk)] as const;
  const progress = showProgress();
  try {
    const result = await compareRecordings(...runs, {
      until,
      onProgress: count =>
        void (process.stderr.isTTY && progress.report({ text: `compared up to instruction ${count}` })),
    });
    progress.done();
    const { instructions, difference, ended, rips } = result;
    if (difference === undefined) {
      print(`alike up to instruction ${instructions}: ${visibleLine(ended)}\n`);
      return status.ok;
    }
    const [one, other] = rips.map(rip => `0x${rip.toString(16)}`);
    print(`differ after instruction ${instructions}: ${visibleLine(difference)}\n`);
    print(`both were at ${one === other ? one : `${one} and ${other}`} before\n`);
    return 1;
  } catch (error) {
    if (error instanceof SnapshotError || error instanceof Divergence)
      throw new Failure(`cannot compare ${older} and ${newer}: ${error.message}`, status.image);
    throw error;
  } finally {
    progress.done();
  }
}

/** Its machine, as it was recorded: in that tier, too. */
async function runOf(file: string, name: string, disks: readonly string[]): Promise<RecordedRun> {
  const recording = await readRecording(file);
  const { cpus, schedule, engine } = recording.header;
  const { hypervisor, memory, clock } = recording.snapshot.header;
  const options = {
    ...{ cpus, schedule, memory, engine, cache: diskCache, translator: workerTranslator },
    hypervisor: parseHypervisor(hypervisor),
    clock: clock === 'host' ? nodeClock : ('virtual' as const),
    disks: disks.map(parseDisk).map(openDisk),
  };
  return { name, options: replayed(options, recording), journal: recording.journal };
}
