/** One cell of the matrix: a machine from its start to its verdict, told about as it goes. */
import { readFileSync } from 'node:fs';
import { commandArchive, commandParameters, joinArchives, OutputParser } from '../boot/exec-protocol.ts';
import { modulesArchive } from '../boot/guest/initramfs.ts';
import { annotate } from '../boot/symbols.ts';
import type { HostClock } from '../host/clock.ts';
import { nodeClock } from '../host/node/clock.ts';
import { collectGarbage } from '../host/node/collect-garbage.ts';
import { readKernelModules } from '../host/node/kernel-modules.ts';
import { loadHypervisor } from '../host/node/load-hypervisor.ts';
import {
  createMachine,
  type HypervisorModule,
  ImageError,
  type Machine,
  type MachineOptions,
  parseKernel,
  tableOf,
  traced,
} from '../index.ts';
import type { ScheduleOption } from '../machine/schedule.ts';
import { VIRTUAL_EPOCH } from '../machine/time.ts';
import { createExcerpt } from '../matrix/excerpt.ts';
import { createFinder } from '../matrix/found.ts';
import { createMemoryDisk } from '../matrix/memory-disk.ts';
import { createPhaseTracker } from '../matrix/phases.ts';
import { type CellResult, type Cost, cellWithoutBoot, emptyCounts, NO_COST } from '../matrix/result.ts';
import { testSockets } from '../matrix/test-network.ts';
import { DISK_LABEL, DISK_SIZE } from '../matrix/test-script.ts';
import { createTestWatch } from '../matrix/test-watch.ts';
import { judge } from '../matrix/verdict.ts';
import { userNetwork } from '../net/user-network.ts';
import { PluginError } from '../plugins/guard.ts';
import type { Topology } from '../x86/topology.ts';
import { type CellRecording, recordCell, SECOND_BOOT } from './cell-recording.ts';
import { type CellRoot, openCellRoot } from './cell-root.ts';
import { createConsoleWatch } from './console-watch.ts';
import { createDecisions } from './decisions.ts';
import { afterItsTime } from './patience.ts';
import { processorsInSeconds } from './report.ts';
import { watchMyself } from './self-watch.ts';
import { openTraceFile, symbolsFor } from './trace-file.ts';
import { parseHypervisor } from './values.ts';

/** What a cell is told; all of it survives JSON. */
export interface CellSpec {
  /** Names, as the report has them. */
  kernel: string;
  hypervisor: string;
  /** Where the hypervisor is a file: its path. */
  hypervisorFile: string | undefined;
  kernelFile: string;
  initrdFile: string | undefined;
  /** Where the kernel's own modules are, for that RAM disk. */
  modulesFolder: string | undefined;
  /** The test's shell script. */
  script: string;
  /** The script is the built-in test, with a disk and a second boot that ends in a reset. */
  builtIn: boolean;
  /** The root in which it runs; undefined: the default guest's. */
  root: CellRoot | undefined;
  /** Instead of a test: the cell has passed when its console shows this. */
  until: string | undefined;
  append: string;
  /** Bytes. */
  memory: number;
  cpus: Topology;
  schedule: ScheduleOption;
  clock: 'host' | 'virtual';
  /** Seconds. */
  timeout: number;
  /** Instructions, for each boot. */
  limit: number | undefined;
  engine: 'jit' | 'interpreter' | undefined;
  traceFile: string | undefined;
  /** Where the cell is recorded; the file stays if it is red. */
  recordingFile: string | undefined;
}

/** What the machines of a process share. */
export type Workshop = Pick<MachineOptions, 'cache' | 'library' | 'translator'>;

/** What can be seen of a cell while it runs. */
export interface CellProgress {
  phase: string;
  /** The console's last line. */
  line: string;
  cost: Cost;
}

/** A guest that prints more than this, in bytes, is not going to say anything new. */
const CONSOLE_LIMIT = 8 << 20;
/** How long a guest may take to power off after its test, in ms of the host's. */
const POWER_OFF_GRACE = 20_000;
const PROGRESS_INTERVAL = 250;
/** Matched text may come in pieces; a line is not longer than this. */
const LONGEST_LINE = 4096;

/** The cell's boot and its test. */
export function runCell(
  spec: CellSpec,
  workshop: Workshop,
  onProgress: (progress: CellProgress) => void,
): Promise<CellResult> {
  return withHypervisor(spec, module => boot(spec, module, workshop, onProgress));
}

/** The last item of the built-in test: a second boot, whose first process asks for a reset. @returns `result` with it */
export function bootAgain(
  spec: CellSpec,
  workshop: Workshop,
  result: CellResult,
  onProgress: (progress: CellProgress) => void,
): Promise<CellResult> {
  return withHypervisor(spec, module => checkReset(spec, module, workshop, result, onProgress));
}

async function withHypervisor(
  spec: CellSpec,
  work: (module: HypervisorModule) => Promise<CellResult>,
): Promise<CellResult> {
  try {
    const { hypervisorFile: file } = spec;
    return await work(
      file === undefined ? parseHypervisor(spec.hypervisor) : await loadHypervisor(file, watchMyself(file)),
    );
  } catch (error) {
    if (!(error instanceof ImageError || error instanceof PluginError)) throw error;
    return cellWithoutBoot(spec.kernel, spec.hypervisor, 'unusable', error.message);
  }
}

/**
 * Reads along what the guest prints: its phases, what is found in it, the test's results.
 * @param clocks the cost so far; the wall's time at the start and what the host took, both in seconds
 */
function createReader(
  spec: CellSpec,
  module: HypervisorModule,
  clocks: { now(): Cost; epoch(): number; stolen(): number },
  decisions: ReturnType<typeof createDecisions>,
  onProgress: (progress: CellProgress) => void,
  stop: () => void,
) {
  const excerpt = createExcerpt();
  const watch = createConsoleWatch(() => decisions.suspectPanic(() => watch.panic));
  const finder = createFinder(module.name);
  const tests = createTestWatch({ ...clocks, fact: finder.fact });
  const phases = createPhaseTracker(clocks.now, () => report());
  const report = () =>
    onProgress({
      phase: tests.current ? `test: ${tests.current}` : phases.phase,
      line: watch.line || (watch.tail.at(-1) ?? ''),
      cost: clocks.now(),
    });
  const decoder = new TextDecoder();
  let line = '';
  /** The text that was waited for has been seen; the guest has printed too much. */
  const signs = { seen: false, flooded: false };
  /** Every line of the kernel's, and of what else is not the test's. */
  const onConsole = (bytes: Uint8Array) => {
    // A script in a root of its own says its facts on the console: its output comes elsewhere.
    excerpt.add(spec.root ? new TextEncoder().encode(tests.feed(bytes)) : bytes);
    for (const [index, piece] of decoder.decode(bytes, { stream: true }).split('\n').entries()) {
      if (index > 0) {
        const text = line.replaceAll('\r', '');
        phases.line(text);
        finder.line(text);
        line = '';
      }
      line = (line + piece).slice(0, LONGEST_LINE);
      if (spec.until === undefined || !line.includes(spec.until)) continue;
      signs.seen = true;
      stop();
    }
  };
  const parser = new OutputParser(spec.script, {
    console: onConsole,
    output: bytes => excerpt.add(new TextEncoder().encode(tests.feed(bytes))),
  });
  /** What came through the channel of a root. */
  const channel = { started: false, status: undefined as number | undefined };
  const onTest = () => {
    if (!channel.started) phases.enter('test');
    channel.started = true;
  };
  return {
    excerpt,
    watch,
    finder,
    tests,
    phases,
    signs,
    report,
    /** What the test ended with. */
    get status(): number | undefined {
      return spec.root ? channel.status : parser.status;
    },
    ends: {
      output(_stream: 'stdout' | 'stderr', data: Uint8Array) {
        onTest();
        excerpt.add(data);
      },
      status(value: number) {
        onTest();
        channel.status = value;
        phases.enter('power-off');
        decisions.stopIn(POWER_OFF_GRACE);
      },
      wantsInput() {},
    },
    write(data: Uint8Array): void {
      watch.write(data);
      if (watch.bytes > CONSOLE_LIMIT) {
        signs.flooded = true;
        return stop();
      }
      if (spec.root) return onConsole(data);
      const { started: before, status } = parser;
      parser.feed(data);
      if (!before && parser.started) phases.enter('test');
      if (status !== undefined || parser.status === undefined) return;
      phases.enter('power-off');
      decisions.stopIn(POWER_OFF_GRACE);
    },
    /** The guest prints nothing more. */
    finish(): void {
      parser.finish();
      if (line !== '') phases.line(line);
    },
  };
}

async function boot(
  spec: CellSpec,
  module: HypervisorModule,
  workshop: Workshop,
  onProgress: (progress: CellProgress) => void,
): Promise<CellResult> {
  const trace = spec.traceFile === undefined ? undefined : openTraceFile(spec.traceFile);
  const decisions = createDecisions();
  const started = performance.now();
  let machine: Machine | undefined;
  let recording: CellRecording | undefined;
  const now = (): Cost =>
    machine
      ? {
          hostTime: (performance.now() - started) / 1000,
          guestTime: machine.statistics.guestTime / 1e9,
          instructions: machine.instructions,
        }
      : NO_COST;
  /** When the machine is made, it asks for the wall's time: that is what its guest starts from. */
  let epoch: bigint | undefined;
  const hostClock: HostClock = {
    ...nodeClock,
    wall() {
      const now = nodeClock.wall();
      epoch ??= now;
      return now;
    },
  };
  const clocks = {
    now,
    epoch: () => Number(epoch ?? VIRTUAL_EPOCH) / 1e9,
    stolen: () => (machine?.statistics.stolenTime ?? 0) / 1e9,
  };
  const reader = createReader(spec, module, clocks, decisions, onProgress, () => machine?.stop());
  const { watch, phases, tests } = reader;
  const kernel = readFileSync(spec.kernelFile);
  const archive = spec.initrdFile === undefined ? undefined : readFileSync(spec.initrdFile);
  const rootTime = () => (spec.clock === 'host' ? nodeClock.wall() : VIRTUAL_EPOCH);
  const root = spec.root && (await openCellRoot(spec.root, reader.ends, rootTime));
  const last = root?.archive ?? commandArchive(spec.script);
  try {
    recording = await recordCell(spec, {
      kernel,
      initrd: archive && joinArchives(archive, ...(await ownModules(spec)), last),
      append: [commandParameters(true), spec.append].filter(Boolean).join(' '),
      memory: spec.memory,
      cpus: spec.cpus,
      schedule: spec.schedule,
      hypervisor: trace ? traced(module, trace.add) : module,
      clock: spec.clock === 'host' ? hostClock : 'virtual',
      console: { write: reader.write, onInput() {} },
      ...(spec.builtIn && {
        disks: [createMemoryDisk('matrix', DISK_SIZE, DISK_LABEL)],
        backEnds: { networks: [await userNetwork({ sockets: testSockets(), hostLoopback: true, optional: true })] },
      }),
      ...(root && { disks: root.disks, backEnds: { folders: root.folders } }),
      engine: spec.engine,
      ...workshop,
    });
    machine = await createMachine(recording.options);
    if (trace) {
      const { kernel: name, hypervisor, clock } = spec;
      trace.begin(machine, { hypervisor, kernel: name, clock }, symbolsFor(await parseKernel(kernel), undefined));
    }
    collectGarbage();
    decisions.start(machine, undefined);
    const stopWaiting = afterItsTime(process.pid, spec.timeout, () => decisions.decide('timeout'));
    const timer = setInterval(reader.report, PROGRESS_INTERVAL);
    const ended = await machine.run({ instructions: spec.limit });
    const expired = ended.kind === 'stopped' && spec.limit !== undefined && machine.instructions >= spec.limit;
    const exit = decisions.explain(expired ? { kind: 'timeout' } : ended, watch.panic);
    stopWaiting();
    clearInterval(timer);
    reader.finish();

    const { statistics } = machine;
    const { exits, operations, hypercalls, msrs, ports } = statistics;
    const counts = { ...emptyCounts(), exits, operations, hypercalls, msrs, ports };
    const own = new Set(Object.values(tableOf(module).cpu.msrs).map(msr => msr.name));
    const verdict = judge({
      exit,
      phase: phases.phase,
      status: reader.status,
      tests: tests.results,
      current: tests.current,
      ...reader.signs,
    });
    const bad = verdict.verdict !== 'passed' && verdict.verdict !== 'failed';
    return await recording.end({
      kernel: spec.kernel,
      hypervisor: spec.hypervisor,
      ...verdict,
      phase: phases.phase,
      phases: phases.results,
      total: now(),
      found: reader.finder.result(counts, own),
      tests: tests.results,
      counts,
      ...(statistics.processors.length > 1 && { processors: processorsInSeconds(statistics) }),
      ...(statistics.networks.length > 0 && { networks: statistics.networks }),
      console: reader.excerpt.text,
      consoleBytes: watch.bytes,
      ...(bad && { state: annotate(machine.describe(), symbolsFor(await parseKernel(kernel), undefined)) }),
    });
  } finally {
    decisions.finish();
    trace?.close();
  }
}

/** As an archive to put after the initial RAM disk, if there are any. */
async function ownModules({ modulesFolder }: CellSpec): Promise<Uint8Array[]> {
  if (modulesFolder === undefined) return [];
  const { release, modules } = await readKernelModules(modulesFolder);
  return [modulesArchive(release, modules)];
}

async function checkReset(
  spec: CellSpec,
  module: HypervisorModule,
  workshop: Workshop,
  result: CellResult,
  onProgress: (progress: CellProgress) => void,
): Promise<CellResult> {
  const started = performance.now();
  const watch = createConsoleWatch();
  const plan: MachineOptions = {
    kernel: readFileSync(spec.kernelFile),
    initrd: spec.initrdFile === undefined ? undefined : readFileSync(spec.initrdFile),
    append: [spec.append, 'quiet rdinit=/bin/reboot -- -f'].filter(Boolean).join(' '),
    memory: spec.memory,
    cpus: spec.cpus,
    schedule: spec.schedule,
    hypervisor: module,
    clock: spec.clock === 'host' ? nodeClock : 'virtual',
    console: { write: watch.write, onInput() {} },
    engine: spec.engine,
    ...workshop,
  };
  const recording = await recordCell(spec, plan, SECOND_BOOT);
  const machine = await createMachine(recording.options);
  const cost = (): Cost => ({
    hostTime: (performance.now() - started) / 1000,
    guestTime: machine.statistics.guestTime / 1e9,
    instructions: machine.instructions,
  });
  const timer = setInterval(
    () => onProgress({ phase: 'test: reboot', line: watch.line, cost: cost() }),
    PROGRESS_INTERVAL,
  );
  let late = false;
  const stopWaiting = afterItsTime(process.pid, spec.timeout, () => {
    late = true;
    machine.stop();
  });
  const exit = await machine.run({ instructions: spec.limit });
  stopWaiting();
  clearInterval(timer);
  const passed = exit.kind === 'reset';
  result.tests.push({ name: 'reboot', outcome: passed ? 'passed' : 'failed', ...cost() });
  if (passed) return recording.end(result);
  result.verdict = 'failed';
  result.reason = `reboot: the guest did not reset the machine; it ended by ${late ? 'timeout' : exit.kind}`;
  result.tests.at(-1)!.note = result.reason;
  return recording.end(result);
}
