/** `polyvisor bisect`: which kernel of a row is the first that fails under a hypervisor. */
import { statSync } from 'node:fs';
import { ImageError } from '../boot/image-error.ts';
import { kernelPackages } from '../host/node/kernel-packages.ts';
import { findTurn, type Judgement, type Search } from '../matrix/bisect-search.ts';
import { visibleLine } from '../matrix/escape.ts';
import { type CellResult, VERDICTS, type Verdict } from '../matrix/result.ts';
import { type CellProcesses, runCells, startCellProcesses } from './cell-runner.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import { judgeImages, readScript, specOf } from './matrix.ts';
import { findKernels } from './matrix-kernels.ts';
import {
  type MatrixHypervisor,
  type MatrixOptions,
  type MatrixSettings,
  parseMatrixSettings,
} from './matrix-settings.ts';
import { print } from './output.ts';
import { showProgress } from './progress.ts';

/** What says nothing about the kernel and this hypervisor. */
const SKIPPED: readonly Verdict[] = ['not built for it', 'unusable', 'died'];

/** What decides what a boot does; the rest of the matrix's options has no meaning here. */
export type BisectOptions = Omit<MatrixOptions, 'tolerance' | 'priority'>;

/** @returns the exit status. @throws Failure */
export async function bisect(words: readonly string[], options: BisectOptions): Promise<number> {
  const settings = parseMatrixSettings({ ...options, tolerance: '2%', priority: '1' });
  const script = settings.test === undefined ? undefined : readScript(settings.test);
  const row = await rowOf(words);
  const processes = startCellProcesses(1);
  let found = true;
  try {
    for (const hypervisor of settings.hypervisors) {
      const reasons = new Map<number, string>();
      const search = await findTurn(row.length, async place => {
        const { judgement, reason } = await judge(row[place]!, hypervisor, settings, script, processes);
        reasons.set(place, reason);
        const line = `${hypervisor.name}: ${row[place]}: ${judgement}${reason && `: ${reason}`}`;
        process.stderr.write(`polyvisor: ${visibleLine(line)}\n`);
        return judgement;
      });
      found &&= search.skipped.length === 0;
      print(describe(search, row, hypervisor.name, reasons.get(search.bad) ?? ''));
    }
  } finally {
    processes.end();
  }
  return found ? status.ok : status.cells;
}

/** The kernels in their order: packages from A to B where `A..B` is named, or what is named. @throws Failure */
async function rowOf(words: readonly string[]): Promise<readonly string[]> {
  const [, first, last] = (words.length === 1 && /^(.+?)\.\.(.+)$/.exec(words[0]!)) || [];
  if (first === undefined || statSync(words[0]!, { throwIfNoEntry: false })) {
    if (words.length >= 2) return words;
    throw new Failure(
      'bisect: name two packages of Debian, A..B, or two kernels or more, from a good one to a bad one',
    );
  }
  const progress = showProgress();
  try {
    return await kernelPackages(first, last!, progress.report);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new Failure(error.message, status.unavailable);
  } finally {
    progress.done();
  }
}

async function judge(
  word: string,
  hypervisor: MatrixHypervisor,
  settings: MatrixSettings,
  script: string | undefined,
  processes: CellProcesses,
): Promise<{ judgement: Judgement; reason: string }> {
  let result: CellResult;
  try {
    const [kernel] = await findKernels([word], settings.initrd);
    const only = { ...settings, hypervisors: [hypervisor] };
    const ready = await judgeImages([kernel!], only);
    const specs = [specOf(kernel!, hypervisor, only, script)];
    const events = { started() {}, progress() {}, ended() {} };
    [result] = (await runCells(specs, ready, [0], 1, processes, events).results) as [CellResult];
  } catch (error) {
    // What cannot be had says nothing of the turn; what is wrong with the command line would have been said before.
    if (!(error instanceof Failure) || error.status === status.usage) throw error;
    return { judgement: 'skip', reason: error.message };
  }
  const { verdict, reason } = result;
  if (verdict === 'passed') return { judgement: 'good', reason: '' };
  return {
    judgement: SKIPPED.includes(verdict) ? 'skip' : 'bad',
    reason: `${verdict}: ${reason || VERDICTS[verdict]}`,
  };
}

function describe(
  { good, bad, skipped, judged }: Search,
  row: readonly string[],
  name: string,
  reason: string,
): string {
  const boots = `${judged} ${judged === 1 ? 'kernel' : 'kernels'} asked`;
  if (skipped.length === 0)
    return `${name}: ${row[bad]} is the first bad one (${boots})${reason && `\n  ${visibleLine(reason)}`}\n  the last good one: ${row[good]}\n`;
  const which = [...skipped, bad].map(place => row[place]).join(', ');
  return `${name}: the first bad one is one of ${which} (${boots}); the others cannot be judged\n`;
}
