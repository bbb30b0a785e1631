/** `polyvisor matrix`: kernels under hypervisors, a cell each, and the reports of what became of them. */
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { factsOf, notBuiltFor } from '../matrix/applicability.ts';
import { compareWithBaseline } from '../matrix/baseline.ts';
import { judgeForBisect } from '../matrix/bisect.ts';
import { visibleLine } from '../matrix/escape.ts';
import type { HistoryRun } from '../matrix/history.ts';
import { type CellResult, cellWithoutBoot, FORMAT, type MatrixReport } from '../matrix/result.ts';
import { dealCells, longestFirst } from '../matrix/shard.ts';
import { builtInTest, wrapScript } from '../matrix/test-script.ts';
import { tableOf } from '../paravirt/compare.ts';
import { sayIfCacheIsNotUsed } from './cache-trust.ts';
import type { CellSpec } from './cell.ts';
import { type CellRoot, planCellRoot } from './cell-root.ts';
import { type CellProcesses, type CellRunner, runCells, startCellProcesses } from './cell-runner.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { type QueueRunner, runCellsInQueue } from './fleet/dispatch.ts';
import { mountsFolders, type RootSettings } from './folder-options.ts';
import { readInput } from './input-file.ts';
import { findKernels, type MatrixKernel } from './matrix-kernels.ts';
import { checkOutputs, readHistory, readReport, writeReports } from './matrix-output.ts';
import { describeHypervisors, planOf, settingsDigest } from './matrix-plan.ts';
import { repeatCommand, withSeeds } from './matrix-schedules.ts';
import {
  type MatrixHypervisor,
  type MatrixOptions,
  type MatrixSettings,
  parseMatrixSettings,
} from './matrix-settings.ts';
import { createMatrixView } from './matrix-view.ts';
import { packageVersion } from './version.ts';

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** @returns the exit status. @throws Failure */
export async function matrix(words: readonly string[], options: MatrixOptions): Promise<number> {
  const settings = parseMatrixSettings(options);
  // Where the default guest is wanted, fetching it says so, and fails.
  if (settings.initrd !== undefined && words.length > 0) sayIfCacheIsNotUsed();
  const { baseline, trace } = settings;
  checkOutputs(settings);
  const earlier = readHistory(settings.history);
  for (const folder of [settings.recordFailures, trace])
    if (folder !== undefined) withFile(folder, status.output, () => mkdirSync(folder, { recursive: true }));
  const before = baseline === undefined ? undefined : readReport(baseline, `--baseline ${baseline}`);
  const script = settings.test === undefined ? undefined : readScript(settings.test);
  const most = Math.max(1, words.length) * settings.hypervisors.length;
  const processes = startCellProcesses(settings.queue ? 0 : Math.min(settings.jobs, most));
  try {
    return await runMatrix(words, options, settings, script, before, earlier, processes);
  } finally {
    processes.end();
  }
}

async function runMatrix(
  words: readonly string[],
  options: MatrixOptions,
  settings: MatrixSettings,
  script: string | undefined,
  before: MatrixReport | undefined,
  earlier: readonly HistoryRun[],
  processes: CellProcesses,
): Promise<number> {
  const { baseline, shard } = settings;
  const kernels = await findKernels(
    words,
    settings.initrd,
    settings.rooted !== undefined && mountsFolders(settings.rooted),
  );
  const all: CellSpec[] = [];
  for (const kernel of kernels) {
    const root = settings.rooted && (await cellRoot(kernel, settings.rooted, script));
    all.push(...settings.hypervisors.map(hypervisor => specOf(kernel, hypervisor, settings, script, root)));
  }
  const judged = await judgeImages(kernels, settings);
  const known = costsOf(all, judged, settings, before);
  const share = shard ? dealCells(known, shard.count)[shard.index - 1]! : [...all.keys()];
  // Before the cells run: somebody may change the files meanwhile.
  const columns = describeHypervisors(settings.hypervisors);
  const given = settingsDigest(settings);
  const plan = shard && planOf(kernels, columns, settings);
  const planned = share.map(index => ({ spec: all[index]!, ready: judged[index], cost: known[index]! }));
  const { runs, fold } = withSeeds(planned, settings.seeds, (spec, seed) =>
    repeatCommand(options, kernels.find(({ name }) => name === spec.kernel)!, spec, seed),
  );
  const specs = runs.map(({ spec }) => spec);
  const view = createMatrixView(specs);
  const started = performance.now();
  const date = new Date().toISOString();
  let signal: keyof typeof SIGNALS | undefined;
  const onSignal = (name: NodeJS.Signals) => {
    // Asked twice: not even the reports are waited for.
    if (signal) return queued ? void queued.cancel() : process.exit(status.interrupted);
    signal = name as keyof typeof SIGNALS;
    runner?.stop(`ended by ${name}`);
  };
  let queued: QueueRunner | undefined;
  let runner: CellRunner | undefined;
  // Listened for before there is a cell: a signal that comes while the first one starts would end this process alone.
  for (const name of Object.keys(SIGNALS)) process.on(name, onSignal);
  const ready = runs.map(({ ready }) => ready);
  const order = longestFirst(runs.map(({ cost }) => cost));
  if (settings.queue) queued = await runCellsInQueue(specs, ready, order, settings.queue, view);
  runner = queued ?? runCells(specs, ready, order, settings.jobs, processes, view);
  // It came while the cells were on their way into the queue.
  if (signal) runner.stop(`ended by ${signal}`);
  const cells = fold(await runner.results.finally(view.close));

  const report: MatrixReport = {
    format: FORMAT,
    polyvisor: packageVersion(),
    date,
    clock: settings.clock,
    test: settings.until !== undefined ? `until: ${settings.until}` : (settings.test ?? 'built-in'),
    kernels: kernels.map(({ name, description, file, size, digest }) => ({ name, description, file, size, digest })),
    hypervisors: columns,
    settings: given,
    cells,
    wallTime: (performance.now() - started) / 1000,
    jobs: queued ? Math.max(1, queued.workers) : settings.jobs,
    ...(shard && { shard: { ...shard, plan: plan!, host: hostname() } }),
  };
  if (before) compareWithBaseline(report, before, settings.tolerance, baseline!);
  // A run that was ended says nothing of those cells that it ended.
  const result = writeReports(report, signal ? { ...settings, history: undefined } : settings, earlier);
  if (signal) return 128 + SIGNALS[signal];
  return settings.bisect === undefined ? result : sayToBisect(report, settings.bisect);
}

/** @returns the exit status that `git bisect run` wants */
function sayToBisect(report: MatrixReport, control: string): number {
  const { word, reason } = judgeForBisect(report, control);
  process.stderr.write(`polyvisor: bisect: ${word}${reason && `: ${visibleLine(reason)}`}\n`);
  return { good: status.ok, bad: status.cells, skip: status.bisectSkip }[word];
}

/** A 32-bit kernel runs no 64-bit programs. */
function cellRoot({ image }: MatrixKernel, rooted: RootSettings, script: string | undefined): Promise<CellRoot> {
  const architecture = image?.bits === 32 ? 'i386' : 'amd64';
  return planCellRoot(rooted, script === undefined ? undefined : wrapScript(script), architecture);
}

export function specOf(
  kernel: MatrixKernel,
  { name: hypervisor, file: hypervisorFile }: MatrixHypervisor,
  settings: MatrixSettings,
  script: string | undefined,
  root?: CellRoot,
): CellSpec {
  const { until, append, memory, cpus, schedule, clock, timeout, limit, engine, trace, recordFailures } = settings;
  const file = (folder: string | undefined, ending: string) =>
    folder && join(folder, `${kernel.name}-${hypervisor}${ending}`.replaceAll(/[^\w.+-]+/g, '_'));
  return {
    kernel: kernel.name,
    hypervisor,
    hypervisorFile,
    kernelFile: kernel.file,
    initrdFile: kernel.initrd,
    modulesFolder: kernel.modulesFolder,
    script: script === undefined ? builtInTest(cpus.cpus > 1) : wrapScript(script),
    builtIn: script === undefined && until === undefined,
    root,
    until,
    append,
    memory,
    cpus,
    schedule,
    clock,
    timeout,
    limit,
    engine,
    traceFile: file(trace, '.trace'),
    recordingFile: file(recordFailures, '.recording'),
  };
}

/**
 * How long each cell takes, for the order in which they are started (one that takes long must not be the last, with the other cores
 * idle) and for how they are dealt. It is known from a baseline, or else guessed: a hypervisor that deals with page faults has more to
 * do. What is not booted takes nothing.
 */
function costsOf(
  specs: readonly CellSpec[],
  ready: readonly (CellResult | undefined)[],
  { hypervisors }: MatrixSettings,
  before: MatrixReport | undefined,
): number[] {
  return specs.map(({ kernel, hypervisor }, index) => {
    if (ready[index]) return 0;
    const same = before?.cells.filter(cell => cell.hypervisor === hypervisor && cell.phases.length > 0) ?? [];
    const known = same.find(cell => cell.kernel === kernel) ?? same[0];
    const module = hypervisors.find(({ name }) => name === hypervisor)?.module;
    const busy = module && typeof tableOf(module).mmu.pageFault === 'function';
    return known?.total.hostTime ?? (busy ? 2 : 1);
  });
}

/** What is known of cells before any is booted. */
export async function judgeImages(
  kernels: readonly MatrixKernel[],
  { hypervisors }: MatrixSettings,
): Promise<(CellResult | undefined)[]> {
  const results: (CellResult | undefined)[] = [];
  for (const { name, image, error } of kernels) {
    const facts = image && (await factsOf(image));
    for (const { name: hypervisor, module } of hypervisors) {
      const reason = facts && module && notBuiltFor(module, facts);
      results.push(
        !facts
          ? cellWithoutBoot(name, hypervisor, 'unusable', error)
          : reason === undefined
            ? undefined
            : cellWithoutBoot(name, hypervisor, 'not built for it', reason),
      );
    }
  }
  return results;
}

export function readScript(file: string): string {
  const text = readInput(file).toString('utf8');
  if (text.trim() === '') throw new Failure(`--test ${file}: the script is empty`);
  return text;
}
