/** `polyvisor run`: one machine on this terminal, from the files named to the exit status. */
import { formatSize, ImageError } from '../boot/image-error.ts';
import { annotate, kernelSymbols, parseSystemMap } from '../boot/symbols.ts';
import type { OpenArtifact } from '../host/node/artifact-cache.ts';
import { collectGarbage, keepYoungGenerationSmall } from '../host/node/collect-garbage.ts';
import { cachedGuest } from '../host/node/guest.ts';
import { visibleLine } from '../matrix/escape.ts';
import { sayIfCacheIsNotUsed } from './cache-trust.ts';
import { endBySignals } from './decisions.ts';
import { isAbnormal, status, statusOf } from './exit-status.ts';
import { Failure } from './failure.ts';
import { type GuestThread, startGuestThread } from './guest-thread.ts';
import { type Images, loadImages } from './images.ts';
import { readInput } from './input-file.ts';
import { checkOutput } from './output-file.ts';
import { replayedOptions } from './recording-file.ts';
import { reportEnding, writeSummary } from './report.ts';
import { restoredOptions } from './restore-options.ts';
import { planFiles } from './root.ts';
import { createSession } from './session.ts';
import { parseSettings, type RunOptions, type Settings } from './settings.ts';
import { checkWritable } from './snapshot-file.ts';
import { createMachineInThread, type ThreadMachine } from './thread.ts';
import type { Saved } from './thread-messages.ts';
import { openTraceFile, symbolsFor, type TraceFile } from './trace-file.ts';
import { type WarmOptions, warmStart } from './warm-start.ts';

/** @param thread where the machine will run. @param isGiven whether an option is on the command line. @returns the exit status. @throws Failure, ImageError */
export async function run(
  given: RunOptions,
  thread: GuestThread,
  isGiven: (option: keyof RunOptions) => boolean,
): Promise<number> {
  keepYoungGenerationSmall();
  const options = replayedOptions(restoredOptions(given, isGiven), isGiven);
  const settings = parseSettings(options);
  // Where the default guest is wanted, fetching it says so, and fails.
  if (settings.kernel !== undefined && settings.exec === undefined) sayIfCacheIsNotUsed();
  const { json, save } = settings;
  if (save) checkWritable(save.file);
  if (settings.dump !== undefined) checkWritable(settings.dump, '--dump');
  // A summary that cannot be written is better known before the run than after it.
  if (json) checkOutput(json);
  const trace = settings.trace === undefined ? undefined : openTraceFile(settings.trace);
  try {
    const { warm, artifact } = (await warmStart(settings)) ?? {};
    // From when there is nothing more that waits for a file: until then a signal ends the process by itself.
    let stopListening = () => {};
    const onLoaded = () => {
      stopListening();
      stopListening = endBySignals();
    };
    const { machine, session, kernelFile, isWarm } = await prepare(settings, thread, trace, warm, onLoaded, artifact)
      .catch(error => {
        if (!warm?.kept) throw error;
        void thread.worker.terminate();
        // What is kept is of no use, whatever is wrong with it: it is made anew.
        return prepare(settings, startGuestThread(), trace, { ...warm, kept: undefined, decoded: undefined }, onLoaded);
      })
      .finally(() => artifact?.close());
    // The kernel's file, above all, which is the other thread's now.
    if (!warm?.kept) collectGarbage();
    stopListening(); // From here on the session listens.
    const stopSaving = save ? saveOnSignal(machine, save.file) : () => {};
    const ending = await session.run(machine).finally(stopSaving);
    const named = isAbnormal(ending) ? await namedPlaces(machine.describe(), kernelFile(), settings.symbols) : '';
    if (settings.dump !== undefined && isAbnormal(ending)) await dump(machine, settings.dump);
    reportEnding(ending, named, session.unseen);
    if (json)
      writeSummary(json, {
        ending,
        machine,
        options: { ...options },
        wallTime: performance.now() / 1000,
        warm: isWarm,
      });
    return statusOf(ending);
  } finally {
    trace?.close();
  }
}

/** The machine with its kernel placed, or with the guest that is kept, and the terminal's side of it. */
async function prepare(
  settings: Settings,
  thread: GuestThread,
  trace: TraceFile | undefined,
  warm: WarmOptions | undefined,
  onLoaded: () => void,
  artifact?: OpenArtifact,
) {
  const {
    hypervisor,
    entry,
    memory,
    cpu,
    cpus,
    schedule,
    clock,
    engine,
    gdb,
    verbose,
    net,
    vsock,
    serial,
    save,
    restore,
  } = settings;
  const { record, replay, exec } = settings;
  const { archive, channel, isTerminal, ...files } = await planFiles(settings);
  const images: Images =
    restore !== undefined || replay !== undefined || warm?.kept
      ? {
          name: restore ?? replay ?? 'the guest in the cache',
          kernel: undefined,
          initrd: undefined,
          modules: undefined,
          ownGuest: !restore,
        }
      : await loadImages({ ...settings, disks: files.disks, waits: warm !== undefined }, archive);
  onLoaded();
  const session = createSession({
    ...settings,
    ownGuest: images.ownGuest && !settings.rooted?.init,
    channel,
    isTerminal,
  });
  const { console } = session;
  const onLog = (line: string) => void (verbose && process.stderr.write(`polyvisor: ${visibleLine(line)}\n`));
  const onNotice = (line: string) => void process.stderr.write(`polyvisor: ${line}${session.lineEnd}`);
  const [name, isFile] = typeof hypervisor === 'string' ? [hypervisor, true] : [hypervisor.name, false];
  const { kernel, initrd, modules } = images;
  const append =
    restore === undefined && replay === undefined && !warm?.kept
      ? words(session.parameters, settings.append)
      : undefined;
  const commandLine = settings.commandLine === undefined ? undefined : words(settings.commandLine, session.parameters);
  const making = cannotBoot(images.name, () =>
    createMachineInThread(
      thread,
      {
        hypervisor: name,
        isFile,
        kernel,
        initrd,
        modules,
        append,
        commandLine,
        entry,
        memory,
        cpu,
        cpus,
        schedule,
        engine,
        gdb,
        clock,
        ...files,
        net,
        vsock,
        serial,
        save,
        restore,
        record,
        replay,
        exec,
        warm,
      },
      { console, channel: session.channel, onLog, onNotice, onSaved, onCrossing: trace?.add },
    ),
  );
  // The other thread makes a machine of it meanwhile, which executes nothing before it is told to.
  if (artifact && !artifact.isSound()) {
    making.catch(() => {});
    throw new Error('the guest in the cache is damaged');
  }
  const machine = await making;
  if (trace) {
    const map = settings.symbols;
    const symbols = map === undefined ? undefined : readInput(map);
    const { DISK_IMAGE, parseKernel } = await import('../boot/image.ts');
    const image = kernel ? await parseKernel(kernel) : DISK_IMAGE;
    const described = image.setup ? image.description : images.name;
    trace.begin(machine, { hypervisor: name, kernel: described, clock }, symbolsFor(image, symbols));
  }
  const kernelFile = () => (warm?.kept ? cachedGuest(settings.guest)?.kernel : images.kernelFile);
  return { machine, session, kernelFile, isWarm: warm?.kept !== undefined };
}

/** Names the kernel's addresses in a text; its file is read again, for the machine has the first reading of it. */
async function namedPlaces(text: string, kernelFile: string | undefined, map: string | undefined): Promise<string> {
  if (kernelFile === undefined && map === undefined) return text;
  try {
    if (map !== undefined) return annotate(text, parseSystemMap(new TextDecoder().decode(readInput(map))));
    const { parseKernel } = await import('../boot/image.ts');
    return annotate(text, kernelSymbols(await parseKernel(readInput(kernelFile!))));
  } catch {
    return text; // The run has ended for a reason of its own, which is not to be hidden by a file that has gone.
  }
}

/** @returns what takes that back */
function saveOnSignal(machine: ThreadMachine, file: string): () => void {
  const onSignal = () =>
    void machine.save(file).then(onSaved, (error: Error) => {
      process.stderr.write(`polyvisor: not saved: ${visibleLine(error.message)}\n`);
    });
  process.on('SIGUSR2', onSignal);
  return () => void process.off('SIGUSR2', onSignal);
}

/** A dump that cannot be written does not hide how the guest ended. */
async function dump(machine: ThreadMachine, file: string): Promise<void> {
  const say = (error: Error) => void process.stderr.write(`polyvisor: not dumped: ${visibleLine(error.message)}\n`);
  await machine.dump(file).then(onSaved, say);
}

function onSaved({ file, size, instructions }: Saved): void {
  const text = `polyvisor: saved ${visibleLine(file)}: ${formatSize(size)}, at instruction ${instructions}`;
  process.stderr.write(`${text}${process.stdin.isRaw ? '\r' : ''}\n`);
}

const words = (...texts: (string | undefined)[]) => texts.filter(Boolean).join(' ');

/** An image error says what is wrong with a file; here it is told which. */
async function cannotBoot<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new Failure(`cannot boot ${name}: ${error.message}`, status.image);
  }
}
