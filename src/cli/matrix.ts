/** `polyvisor matrix`: kernels under hypervisors, a cell each, and the reports of what became of them. */
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { factsOf, notBuiltFor } from '../matrix/applicability.ts';
import { BaselineError, compareWithBaseline, parseBaseline } from '../matrix/baseline.ts';
import { jsonText } from '../matrix/escape.ts';
import { htmlReport } from '../matrix/html.ts';
import { junitReport } from '../matrix/junit.ts';
import { markdownReport } from '../matrix/markdown.ts';
import { plainReport } from '../matrix/plain-report.ts';
import { type CellResult, cellWithoutBoot, FORMAT, type MatrixReport } from '../matrix/result.ts';
import { isSuccess } from '../matrix/summary.ts';
import { builtInTest, wrapScript } from '../matrix/test-script.ts';
import { tableOf } from '../paravirt/compare.ts';
import { sayIfCacheIsNotUsed } from './cache-trust.ts';
import type { CellSpec } from './cell.ts';
import { type CellProcesses, runCells, startCellProcesses } from './cell-runner.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { readInput } from './input-file.ts';
import { findKernels, type MatrixKernel } from './matrix-kernels.ts';
import {
  type MatrixHypervisor,
  type MatrixOptions,
  type MatrixSettings,
  parseMatrixSettings,
} from './matrix-settings.ts';
import { createMatrixView } from './matrix-view.ts';
import { print } from './output.ts';
import { packageVersion } from './version.ts';

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** @returns the exit status. @throws Failure */
export async function matrix(words: readonly string[], options: MatrixOptions): Promise<number> {
  const settings = parseMatrixSettings(options);
  // Where the default guest is wanted, fetching it says so, and fails.
  if (settings.initrd !== undefined && words.length > 0) sayIfCacheIsNotUsed();
  const { json, junit, html, baseline, trace } = settings;
  // A report that cannot be written is better known before the run than after it.
  for (const file of [json, junit, html]) if (file) withFile(file, status.output, () => closeSync(openSync(file, 'a')));
  if (trace) withFile(trace, status.output, () => mkdirSync(trace, { recursive: true }));
  const before = baseline === undefined ? undefined : readBaseline(baseline);
  const script = settings.test === undefined ? undefined : readScript(settings.test);
  const most = Math.max(1, words.length) * settings.hypervisors.length;
  const processes = startCellProcesses(Math.min(settings.jobs, most));
  try {
    return await runMatrix(words, settings, script, before, processes);
  } finally {
    processes.end();
  }
}

async function runMatrix(
  words: readonly string[],
  settings: MatrixSettings,
  script: string | undefined,
  before: MatrixReport | undefined,
  processes: CellProcesses,
): Promise<number> {
  const { json, junit, html, baseline } = settings;
  const kernels = await findKernels(words, settings.initrd);
  const specs = kernels.flatMap(kernel =>
    settings.hypervisors.map(hypervisor => specOf(kernel, hypervisor, settings, script)),
  );
  const ready = await judgeImages(kernels, settings);
  const view = createMatrixView(specs);
  const started = performance.now();
  const date = new Date().toISOString();
  let signal: keyof typeof SIGNALS | undefined;
  const onSignal = (name: NodeJS.Signals) => {
    if (signal) process.exit(130); // Asked twice: not even the reports are waited for.
    signal = name as keyof typeof SIGNALS;
    runner.stop(`ended by ${name}`);
  };
  // Listened for before there is a cell: a signal that comes while the first one starts would end this process alone.
  for (const name of Object.keys(SIGNALS)) process.on(name, onSignal);
  const runner = runCells(specs, ready, longestFirst(specs, settings, before), settings.jobs, processes, view);
  const cells = await runner.results;
  view.close();

  const report: MatrixReport = {
    format: FORMAT,
    polyvisor: packageVersion(),
    date,
    clock: settings.clock,
    test: settings.until !== undefined ? `until: ${settings.until}` : (settings.test ?? 'built-in'),
    kernels: kernels.map(({ name, description, file, size }) => ({ name, description, file, size })),
    hypervisors: settings.hypervisors.map(({ name, title }) => ({ name, title })),
    cells,
    wallTime: (performance.now() - started) / 1000,
    jobs: settings.jobs,
  };
  if (before) compareWithBaseline(report, before, settings.tolerance, baseline!);
  write(json, `${jsonText(report, 1)}\n`);
  write(junit, junitReport(report));
  write(html, htmlReport(report));
  if (settings.markdown) print(markdownReport(report));
  else print(plainReport(report));
  if (signal) return 128 + SIGNALS[signal];
  return isSuccess(report) ? status.ok : status.cells;
}

function specOf(
  kernel: MatrixKernel,
  { name: hypervisor, file }: MatrixHypervisor,
  settings: MatrixSettings,
  script: string | undefined,
): CellSpec {
  const { until, append, memory, cpus, schedule, clock, timeout, limit, engine, trace } = settings;
  return {
    kernel: kernel.name,
    hypervisor,
    hypervisorFile: file,
    kernelFile: kernel.file,
    initrdFile: kernel.initrd,
    script: script === undefined ? builtInTest : wrapScript(script),
    builtIn: script === undefined && until === undefined,
    until,
    append,
    memory,
    cpus,
    schedule,
    clock,
    timeout,
    limit,
    engine,
    traceFile: trace && join(trace, `${kernel.name}-${hypervisor}.trace`.replaceAll(/[^\w.+-]+/g, '_')),
  };
}

/**
 * The order in which cells are started: one that takes long must not be the last, with the other cores idle. How long is known from
 * a baseline, or else guessed: a hypervisor that deals with page faults has more to do.
 */
function longestFirst(
  specs: readonly CellSpec[],
  { hypervisors }: MatrixSettings,
  before: MatrixReport | undefined,
): number[] {
  const costs = specs.map(({ kernel, hypervisor }) => {
    const same = before?.cells.filter(cell => cell.hypervisor === hypervisor && cell.phases.length > 0) ?? [];
    const known = same.find(cell => cell.kernel === kernel) ?? same[0];
    const module = hypervisors.find(({ name }) => name === hypervisor)?.module;
    const busy = module && typeof tableOf(module).mmu.pageFault === 'function';
    return known?.total.hostTime ?? (busy ? 2 : 1);
  });
  return [...specs.keys()].sort((a, b) => costs[b]! - costs[a]! || a - b);
}

/** What is known of cells before any is booted. */
async function judgeImages(
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

function readBaseline(file: string): MatrixReport {
  const text = readInput(file).toString('utf8');
  try {
    return parseBaseline(text);
  } catch (error) {
    if (!(error instanceof BaselineError)) throw error;
    throw new Failure(`--baseline ${file}: ${error.message}`, status.image);
  }
}

function readScript(file: string): string {
  const text = readInput(file).toString('utf8');
  if (text.trim() === '') throw new Failure(`--test ${file}: the script is empty`);
  return text;
}

function write(file: string | undefined, text: string): void {
  if (file) withFile(file, status.output, () => writeFileSync(file, text));
}
