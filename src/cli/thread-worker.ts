/** The thread in which a machine runs: see thread.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { endMark } from '../boot/exec-protocol.ts';
import { READY } from '../boot/guest/resume-program.ts';
import { TimerError } from '../clock.ts';
import { diskCache } from '../host/node/artifact-cache.ts';
import { nodeClock } from '../host/node/clock.ts';
import { keepCode } from '../host/node/code-cache.ts';
import { collectGarbage } from '../host/node/collect-garbage.ts';
import { loadHypervisor } from '../host/node/load-hypervisor.ts';
import { preferThisThread } from '../host/node/thread-priority.ts';
import { workerTranslator } from '../host/node/translator.ts';
import { ListenError } from '../host/sockets.ts';
import {
  createMachine,
  type Exit,
  type Machine,
  type MachineOptions,
  type RunLimits,
  SnapshotError,
  traced,
} from '../index.ts';
import { VIRTUAL_EPOCH } from '../machine/time.ts';
import { createTimeline, whyNoTimeline } from '../machine/timeline.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { isA, reasonOf } from '../plugins/guard.ts';
import { createBatch } from '../remote/batch.ts';
import type { RemotePort } from '../remote/port.ts';
import { type Served, serve, type Tell } from '../remote/serve.ts';
import { Player } from '../replay/door.ts';
import { Divergence } from '../replay/journal.ts';
import { recorded, replayed } from './doors.ts';
import { status } from './exit-status.ts';
import { Failure, withFileLater } from './failure.ts';
import { openFolders } from './folders.ts';
import { openNetworks, openVsock } from './networks.ts';
import { RecordingFile, readRecording, replayFailure } from './recording-file.ts';
import { openSerial } from './serial.ts';
import { readSnapshot, snapshotFailure, writeSnapshot, writeWhole } from './snapshot-file.ts';
import { createTextWatch } from './text-watch.ts';
import {
  type CountedCrossing,
  type Saved,
  type State,
  sendable,
  type ThreadOptions,
  type ThreadProtocol,
  type ThreadStart,
} from './thread-messages.ts';
import { type DebugOption, parseHypervisor, type SaveOption } from './values.ts';
import { packageVersion } from './version.ts';
import { keep, keepDecoded, openKept, resumption } from './warm-start.ts';
import { createWatch } from './watch.ts';

/** How often a running machine's state is sent, in milliseconds. */
const STATE_EVERY = 200;
/** How long (ms) a guest that waits for its command has for what it does besides, before it is kept. */
const SETTLE = 100;
/** Crossings sent at once. */
const BATCH = 64;

const { cells } = workerData as ThreadStart;
const port: RemotePort = {
  postMessage: (message, handed) => parentPort!.postMessage(message, handed as ArrayBuffer[]),
  addEventListener: (_type, listener) => parentPort!.on('message', data => listener({ data })),
};
const tell: Tell<ThreadProtocol> = (message, handed = []) => port.postMessage(message, handed);
const stateOf = (machine: Machine): State => ({ statistics: machine.statistics, description: machine.describe() });

interface Made {
  machine: Machine;
  /** Who runs the machine: itself, or a debugger. */
  runner: Pick<Machine, 'run' | 'stop'>;
  type(data: Uint8Array): void;
  /** Gives the command's input to the channel. */
  give(data: Uint8Array | undefined): void;
  /** Sends the command a signal. */
  signal(number: number): void;
  flush(): void;
  save: SaveOption | undefined;
  /** The text at which a snapshot is to be taken has been shown. */
  seen(): boolean;
  /** Gives a guest that waits for a command the one of --exec. */
  resume: (() => void) | undefined;
  /** The guest that waits is to be kept under this name. */
  keepAs: string | undefined;
  /** It waits. */
  ready(): boolean;
  /** What is recorded goes there. */
  file: RecordingFile | undefined;
  /** What is replayed comes from there. */
  player: Player | undefined;
  /** The version of Polyvisor that recorded it. */
  recordedBy: string | undefined;
  /** It was kept, and its command has ended. */
  over(): boolean;
  /** The file that the hypervisor comes from. */
  plugin: string | undefined;
  /** Somebody has told the machine to stop. */
  stopped?: boolean;
}

async function make(options: ThreadOptions): Promise<Made> {
  const {
    hypervisor: name,
    isFile,
    clock,
    disks,
    folders,
    net,
    vsock,
    serial,
    gdb,
    trace,
    save,
    restore,
    warm,
    ...others
  } = options;
  const { record, replay, exec, ...rest } = others;
  const watch = createWatch(cells, name => tell({ kind: 'operation', name }));
  const hypervisor = isFile
    ? await withFileLater(name, status.noInput, () => loadHypervisor(name, watch))
    : parseHypervisor(name);
  let crossings: CountedCrossing[] = [];
  const output = createBatch(data => tell({ kind: 'console', data }, [data.buffer]), setImmediate);
  const flush = () => {
    output.flush();
    if (crossings.length > 0) tell({ kind: 'trace', crossings });
    crossings = [];
  };
  const note = (crossing: Crossing) => {
    if (crossings.push({ crossing, instructions: machine?.instructions ?? 0 }) < BATCH) return;
    tell({ kind: 'trace', crossings });
    crossings = [];
  };
  const kept = warm?.kept && openKept(warm.kept, warm.decoded);
  // Nothing that stays may hold on to it.
  if (warm) warm.decoded = undefined;
  const snapshot = kept ?? (restore === undefined ? undefined : await readSnapshot(restore));
  let type = (_data: Uint8Array) => {};
  const wanted = typeof save?.when === 'object' && 'text' in save.when ? createTextWatch(save.when.text) : undefined;
  const ready = warm && !kept ? createTextWatch(READY) : undefined;
  const ended = kept && warm ? createTextWatch(endMark(warm.command), '\n') : undefined;
  const write = (data: Uint8Array) => {
    output.add(data);
    if (wanted?.feed(data)) machine?.stop();
    // What a guest does after its command can only be noticed by others on its network.
    const isAlone = () => machine?.statistics.networks.every(({ sent }) => sent.frames === 0);
    if (ended?.feed(data) && isAlone()) machine?.stop();
    if (ready?.feed(data)) setTimeout(() => machine?.stop(), SETTLE);
  };
  let machine: Machine | undefined;
  const ends = {
    output: (stream: 'stdout' | 'stderr', data: Uint8Array) => tell({ kind: 'output', stream, data }),
    status: (value: number) => tell({ kind: 'status', status: value }),
    wantsInput: () => tell({ kind: 'wants-input' }),
    takesSignals: () => tell({ kind: 'takes-signals' }),
  };
  // On the virtual clock, what a guest sees is the same in every run: times, too.
  const now = () => (clock === 'host' ? nodeClock.wall() : VIRTUAL_EPOCH);
  const opened = await openFolders(folders, ends, now);
  const file = record === undefined ? undefined : new RecordingFile(record, () => machine?.stop());
  const recording = replay === undefined ? undefined : await readRecording(replay);
  if (recording?.isShort) tell({ kind: 'notice', line: `${replay} is cut short: what it has is replayed` });
  let plan: MachineOptions = {
    translator: workerTranslator,
    cache: diskCache,
    ...rest,
    hypervisor: trace ? traced(hypervisor, note) : hypervisor,
    clock: clock === 'host' ? nodeClock : 'virtual',
    disks: await openDisks(disks),
    backEnds: { folders: opened.folders, networks: await openNetworks(net), vsock: await openVsock(vsock) },
    console: { write, onInput: take => void (type = take) },
    ...(serial && { serial: await openSerial(serial) }),
    ...(snapshot && { snapshot }),
    onLog: line => tell({ kind: 'log', line }),
  };
  if (file) plan = await recorded(plan, file, exec);
  if (recording) plan = replayed(plan, recording);
  const whyNoHistory = trace
    ? 'a trace has every crossing once: no --trace'
    : recording
      ? undefined
      : whyNoTimeline(plan);
  const goesBack = gdb && whyNoHistory === undefined;
  const player = recording && !goesBack ? new Player(recording.journal) : undefined;
  if (player) plan = { ...plan, door: player };
  machine = await (goesBack ? createTimeline(plan, recording?.journal) : createMachine(plan));
  preferThisThread();
  // The kernel's file and what came out of it: all that counts is in the guest's memory now.
  if (!kept) collectGarbage();
  // Once more when the run has begun: what is freed in the background the first time is not always given back.
  setTimeout(collectGarbage, 1000).unref();
  const give = (data: Uint8Array | undefined) => {
    opened.channel?.give(data);
    // Wakes a guest that is halted: an interrupt waits for it.
    type(new Uint8Array(0));
  };
  const signal = (number: number) => {
    opened.channel?.signal(number);
    type(new Uint8Array(0));
  };
  const debugged = gdb && (await debuggedBy(machine, gdb, whyNoHistory));
  const runner = debugged ?? machine;
  const resume =
    warm &&
    (() => {
      const { typed, shown } = resumption(warm.command, machine!);
      output.add(shown);
      type(typed);
    });
  return {
    machine,
    runner,
    type: data => type(data),
    give,
    signal,
    flush,
    save,
    seen: () => wanted?.seen ?? false,
    resume,
    keepAs: ready && warm?.name,
    file,
    player,
    recordedBy: recording?.header.version ?? 'unknown',
    ready: () => ready?.seen ?? false,
    over: () => ended?.seen ?? false,
    plugin: isFile ? name : undefined,
  };
}

/** What opens disks is loaded where there are any. */
async function openDisks(disks: ThreadOptions['disks']) {
  if (disks.length === 0) return [];
  const { openDisk } = await import('./disks.ts');
  return disks.map(openDisk);
}

/** Waits for gdb where it is to come. @throws Failure where that cannot be */
async function debuggedBy(
  machine: Machine,
  where: DebugOption,
  whyNoHistory?: string,
): Promise<Pick<Machine, 'run' | 'stop'>> {
  const { Debugger, serveDebugger } = await import('../debug/debugger.ts');
  const { nodeSockets } = await import('../host/node/sockets.ts');
  const say = (line: string) => tell({ kind: 'notice', line });
  const subject = new Debugger(machine, say, whyNoHistory);
  try {
    const { port } = await serveDebugger(subject, nodeSockets, where);
    const host = where.address.includes(':') ? `[${where.address}]` : where.address;
    say(`the guest waits for a debugger: gdb -ex 'target remote ${host}:${port}'`);
  } catch (error) {
    if (error instanceof ListenError) throw new Failure(`--gdb ${error.message}`, status.inUse);
    throw error;
  }
  return subject;
}

/** Between two slices of the guest, which goes on while the file is written. @throws Failure */
async function write(machine: Machine, file: string, what: 'save' | 'dump'): Promise<Saved> {
  try {
    const { instructions } = machine;
    const size = await (what === 'dump' ? writeWhole(file, machine.core()) : writeSnapshot(machine.snapshot(), file));
    return { file, size, instructions };
  } catch (error) {
    throw isA(error, Failure) ? error : new Failure(reasonOf(error), status.output);
  }
}

/** Runs to the end, and on the way takes the snapshot of --save when its time has come. */
async function runAndSave(made: Made, limits: RunLimits | undefined): Promise<Exit> {
  const { machine, runner, save, seen, player } = made;
  if (player && runner === machine) return runReplay(made, player, limits);
  if (!save || save.when === 'asked') return runner.run(limits);
  const { file, when } = save;
  const left = 'instructions' in when ? when.instructions - machine.instructions : Number.POSITIVE_INFINITY;
  if (left < 0) throw new Failure(`--save ${file}: instruction ${when} is over`, status.usage);
  const exit = await runner.run({ ...limits, instructions: left });
  const due = 'instructions' in when ? machine.instructions === when.instructions : seen();
  if (exit.kind !== 'stopped' || !due) return exit;
  made.save = undefined;
  const { instructions } = machine;
  const size = await writeSnapshot(machine.snapshot(), file);
  tell({ kind: 'saved', saved: { file, size, instructions } });
  return runner.run(limits);
}

/** Runs to the recording's end, over the places where somebody had stopped the machine for a while. */
async function runReplay(made: Made, player: Player, limits: RunLimits | undefined): Promise<Exit> {
  for (;;) {
    const exit = await made.machine.run(limits);
    if (player.isOver && exit.kind === 'stopped') {
      const line = `the recording ends at instruction ${made.machine.instructions}; --gdb PORT lets a debugger look at it`;
      tell({ kind: 'notice', line });
    }
    if (player.hasDiverged && made.recordedBy !== packageVersion() && 'reason' in exit)
      return {
        ...exit,
        reason: `${exit.reason} (recorded by version ${made.recordedBy}; this is ${packageVersion()})`,
      };
    if (exit.kind !== 'stopped' || made.stopped || player.isOver) return exit;
  }
}

/** Runs a guest that is kept, or is to be, to its end. */
async function runWarm(made: Made, limits: RunLimits | undefined, resume: () => void): Promise<Exit> {
  const { machine, keepAs } = made;
  made.resume = undefined;
  if (keepAs !== undefined) {
    const exit = await machine.run(limits);
    if (exit.kind !== 'stopped' || !made.ready() || made.stopped) return exit;
    await keep(keepAs, machine.snapshot({ learns: true, passing: true }));
    collectGarbage();
  }
  resume();
  const exit = await machine.run(limits);
  made.flush();
  if (exit.kind === 'stopped' && made.over() && !made.stopped) return { kind: 'power-off' };
  if (keepAs !== undefined) keepDecoded(keepAs, machine.learned());
  return exit;
}

/** Runs as the options say. */
async function run(made: Made, limits: RunLimits): Promise<Exit> {
  const { machine } = made;
  const timer = setInterval(() => tell({ kind: 'report', report: stateOf(machine) }), STATE_EVERY);
  try {
    const exit = await (made.resume ? runWarm(made, limits, made.resume) : runAndSave(made, limits));
    await made.file?.close();
    keepCode();
    return exit;
  } catch (error) {
    // The machine's own timers keep the clock's rules: it is one of the file's.
    if (made.plugin !== undefined && isA(error, TimerError))
      return { kind: 'killed', reason: `${made.plugin}: ${error.message}` };
    throw error;
  } finally {
    clearInterval(timer);
  }
}

/** The machine, as it is asked for. @throws Failure, ImageError … */
async function begin(options: ThreadOptions): Promise<Served<ThreadProtocol>> {
  const { restore, replay } = options;
  const made = await make(options).catch(error => {
    if (restore !== undefined && isA(error, SnapshotError)) throw snapshotFailure(restore, error);
    if (replay !== undefined && (isA(error, SnapshotError) || isA(error, Divergence)))
      throw replayFailure(replay, error);
    throw error;
  });
  const { machine, runner } = made;
  return {
    run: limits => run(made, limits),
    stop() {
      made.stopped = true;
      runner.stop();
    },
    request: what => machine.request(what),
    type: data => made.type(data as Uint8Array),
    report: () => stateOf(machine),
    flush: made.flush,
    answers: {
      save: file => write(machine, file, 'save'),
      dump: file => write(machine, file, 'dump'),
    },
    command: command => (command.kind === 'signal' ? made.signal(command.number) : made.give(command.data)),
  };
}

serve<ThreadProtocol>(port, begin, sendable);
