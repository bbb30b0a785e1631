/** `polyvisor run`: one machine on this terminal, from the files named to the exit status. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { diskCache } from '../host/node/artifact-cache.ts';
import { nodeClock } from '../host/node/clock.ts';
import { collectGarbage, keepYoungGenerationSmall } from '../host/node/collect-garbage.ts';
import { preferThisThread } from '../host/node/thread-priority.ts';
import { workerTranslator } from '../host/node/translator.ts';
import { createMachine, type Disk, ImageError, parseKernel, traced } from '../index.ts';
import { visibleLine } from '../matrix/escape.ts';
import { sayIfCacheIsNotUsed } from './cache-trust.ts';
import { openDisk } from './disks.ts';
import { status, statusOf } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { loadImages } from './images.ts';
import { reportEnding, writeSummary } from './report.ts';
import { createSession } from './session.ts';
import { parseSettings, type RunOptions, type Settings } from './settings.ts';
import { createMachineInThread } from './thread.ts';
import { openTraceFile, symbolsFor, type TraceFile } from './trace-file.ts';

/** @returns the exit status. @throws Failure, ImageError */
export async function run(options: RunOptions): Promise<number> {
  keepYoungGenerationSmall();
  const settings = parseSettings(options);
  // Where the default guest is wanted, fetching it says so, and fails.
  if (settings.kernel !== undefined && settings.exec === undefined) sayIfCacheIsNotUsed();
  const { json } = settings;
  // A summary that cannot be written is better known before the run than after it.
  if (json) withFile(json, status.output, () => closeSync(openSync(json, 'a')));
  const disks: Disk[] = [];
  const trace = settings.trace === undefined ? undefined : openTraceFile(settings.trace);
  try {
    // A hypervisor from a file runs in a thread, which opens the disks itself.
    for (const disk of typeof settings.hypervisor === 'string' ? [] : settings.disks) disks.push(openDisk(disk));
    const { machine, session } = await prepare(settings, disks, trace);
    if (typeof settings.hypervisor !== 'string') preferThisThread();
    collectGarbage(); // The kernel's file and what came out of it: all that counts is in the guest's memory now.
    // Once more when the run has begun: what is freed in the background the first time is not always given back.
    setTimeout(collectGarbage, 1000).unref();
    const ending = await session.run(machine);
    reportEnding(ending, machine, session.unseen);
    if (json) writeSummary(json, { ending, machine, options: { ...options }, wallTime: performance.now() / 1000 });
    return statusOf(ending);
  } finally {
    trace?.close();
    for (const disk of disks) disk.close();
  }
}

/** The machine with its kernel placed, and the terminal's side of it. */
async function prepare(settings: Settings, disks: readonly Disk[], trace: TraceFile | undefined) {
  const { hypervisor, entry, memory, clock, engine, verbose } = settings;
  const images = await loadImages(settings);
  const session = createSession({ ...settings, ownGuest: images.ownGuest });
  const common = {
    kernel: images.kernel,
    initrd: images.initrd,
    modules: images.modules,
    append: [session.parameters, settings.append].filter(Boolean).join(' '),
    entry,
    memory,
    engine,
  };
  const { console } = session;
  const onLog = (line: string) => void (verbose && process.stderr.write(`polyvisor: ${visibleLine(line)}\n`));
  const machine = await cannotBoot(images.name, () =>
    typeof hypervisor === 'string'
      ? createMachineInThread(
          { ...common, file: hypervisor, clock, disks: settings.disks },
          { console, onLog, onCrossing: trace?.add },
        )
      : createMachine({
          ...common,
          hypervisor: trace ? traced(hypervisor, trace.add) : hypervisor,
          clock: clock === 'host' ? nodeClock : 'virtual',
          console,
          disks,
          translator: workerTranslator,
          cache: diskCache,
          onLog,
        }),
  );
  if (trace) {
    const map = settings.symbols;
    const symbols = map === undefined ? undefined : withFile(map, status.noInput, () => readFileSync(map));
    const name = typeof hypervisor === 'string' ? hypervisor : hypervisor.name;
    const image = await parseKernel(images.kernel);
    const kernel = image.setup ? image.description : images.name;
    trace.begin(machine, { hypervisor: name, kernel, clock }, symbolsFor(image, symbols));
  }
  return { machine, session };
}

/** An image error says what is wrong with a file; here it is told which. */
async function cannotBoot<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new Failure(`cannot boot ${name}: ${error.message}`, status.image);
  }
}
