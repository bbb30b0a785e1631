/**
 * The command line: which words there are and what becomes of errors. Each command's work is a module of its own that is
 * loaded when it is called, so that --help costs nothing.
 */
import { Command, CommanderError, Option } from 'commander';
import { ImageError } from '../boot/image-error.ts';
import { keepCode } from '../host/node/code-cache.ts';
import { visibleLine } from '../matrix/escape.ts';
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '../x86/cpu-models.ts';
import type { BisectOptions } from './bisect.ts';
import { status, statusHelp } from './exit-status.ts';
import { Failure, hostLimit, isHostError } from './failure.ts';
import type { WorkerOptions } from './fleet/worker.ts';
import type { GuestCommandOptions, RootCommandOptions } from './guest.ts';
import { type GuestThread, startGuestThread } from './guest-thread.ts';
import { qemuHint, withSuggestion } from './hints.ts';
import type { ListOptions } from './list.ts';
import type { ReportOutputs } from './matrix-output.ts';
import type { MatrixOptions } from './matrix-settings.ts';
import { print } from './output.ts';
import type { ReplayOptions } from './replay.ts';
import { parseSeeds } from './seeds.ts';
import type { RunOptions } from './settings.ts';
import type { TraceDiffOptions, TraceShowOptions } from './trace.ts';
import { packageVersion } from './version.ts';
import type { WebOptions } from './web.ts';

/** The first of each architecture is its default. */
const FLAVOURS = 'cloud-amd64, amd64; 686-pae, 686; or its package, linux-image-…';

/**
 * Runs the command and ends the process.
 * @param early the thread for a guest, where it was to be seen that there will be one
 */
export async function main(words: readonly string[], early?: GuestThread): Promise<void> {
  const debug = words.includes('--debug');
  const fail = (error: unknown) => {
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
    const result = report(error, debug);
    // A mistake in the command is not the kernel's: "git bisect run" would take it for that.
    const bisecting = words.some(word => /^--bisect(=|$)/.test(word));
    process.exit(result !== status.ok && bisecting ? status.bisectAbort : result);
  };
  process.on('uncaughtException', fail);
  try {
    let exitStatus: number = status.ok;
    const program = createProgram(words, result => void (exitStatus = result), early);
    const run = program.commands.find(command => command.name() === words[0] && words[0] === 'run');
    const hint = run && qemuHint(run, words);
    if (hint !== undefined) throw new Failure(hint);
    await program.parseAsync(words, { from: 'user' });
    keepCode();
    process.exit(exitStatus);
  } catch (error) {
    fail(error);
  }
}

/** Takes the exit status of a command. */
type Finish = (exitStatus: number) => void;

function createProgram(words: readonly string[], finish: Finish, early: GuestThread | undefined): Command {
  const program = new Command('polyvisor')
    .description("Boots an unmodified kernel under any hypervisor's guest interface, with no hypervisor and no root.")
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .configureOutput({
      writeOut: print,
      writeErr: text => void process.stderr.write(text.replace(/^error: /, 'polyvisor: ')),
    })
    // What follows "matrix merge" is of "merge", also where "matrix" has an option of the name.
    .enablePositionalOptions()
    .exitOverride();
  addRun(program, words, finish, early);
  const matrix = addMatrix(program, finish);
  addReplay(program, finish);
  addBisect(program, finish);
  addWorker(program, finish);
  addList(program);
  const guest = addGuest(program);
  addConform(program, finish);
  addWeb(program, finish);
  const trace = addTrace(program, finish);

  const inner = [matrix, guest, trace].flatMap(({ commands }) => commands);
  for (const command of [program, ...program.commands, ...inner]) {
    if (command !== program) command.copyInheritedSettings(program);
    command.showSuggestionAfterError(false);
    command.configureOutput({ outputError: (text, write) => write(withSuggestion(command, text)) });
    command.showHelpAfterError(`(${commandPath(command)} --help lists what there is)`).allowExcessArguments(false);
  }
  return program;
}

function addRun(program: Command, words: readonly string[], finish: Finish, early: GuestThread | undefined): void {
  addRunLike(program.command('run'), words, finish, early, false).description(
    "boot a kernel; with no options, Debian's, to a shell",
  );
  addRunLike(program.command('shell'), words, finish, early, true).description(
    "boot a kernel to the default guest's shell: as run, with its initial RAM disk",
  );
}

/** @param guestDisk the kernel gets the default guest's initial RAM disk, whatever it is */
function addRunLike(
  command: Command,
  words: readonly string[],
  finish: Finish,
  early: GuestThread | undefined,
  guestDisk: boolean,
): Command {
  return command
    .argument('[kernel]', "a file, a source tree with a kernel that has been built, or one of Debian's by name")
    .option(
      '-H, --hypervisor <name[,option]|file>',
      'whose guest interface: see "polyvisor list"; or a file with one',
      'bare',
    )
    .option('-k, --kernel <file|tree>', 'the same as KERNEL (default: Debian\'s, fetched once by "polyvisor guest")')
    .option('-i, --initrd <file>', "initial RAM disk (default: the default guest's, with the default kernel)")
    .option('--module <file words>', 'a file for a multiboot or PVH kernel; may be given more than once', collect)
    .option('--modules <folder>', "a kernel's own modules (make modules_install), for the default guest's RAM disk")
    .option('--arch <architecture>', "the default guest's: amd64 or i386", 'amd64')
    .option('--flavour <name>', `which of Debian's kernels: ${FLAVOURS}`)
    .option(
      '--entry <entry>',
      'how the kernel is entered: pvh, linux, packed, real, multiboot; disk boots a disk (default: the shortest way)',
    )
    .option('-a, --append <text>', "more words for the kernel's command line")
    .option('--command-line <text>', "the kernel's whole command line, instead")
    .option('-m, --memory <size>', 'RAM, such as 512M or 1G', '256M')
    .option('--cpu <model>', `what kind of processors: ${CPU_MODELS.join(' or ')}`, DEFAULT_CPU_MODEL)
    .option('--cpus <number[,sockets=,cores=,threads=]>', 'processors, 1 to 64, and how they are arranged', '1')
    .option(
      '--schedule <fair|seed|first-last>',
      'how processors take turns: alike, or as drawn from a number; 1-20 runs under each of these',
      'fair',
    )
    .option(
      '-d, --disk <file[,ro][,layer][,share][,bus=name][,format=raw|qcow2][,backing=any]>',
      'a raw disk or CD image, or a qcow2 image, booted if no kernel is named; may be given more than once',
      collect,
    )
    .option(
      '--share <folder[,tag=name][,ro]>',
      'a folder for the guest, at /mnt/TAG in the default guest; may be given more than once',
      collect,
    )
    .option(
      '--root <root>',
      'run in another root: "host", "debian[:packages]", a folder[,ro], FILE.tar[.gz|.xz|.zst], oci:PATH, or a disk image[,ro|,layer]',
    )
    .option('--init', "with --root: start the root's own init")
    .option('--cwd <path>', 'with --root: where the command starts (with "host": here)')
    .option('--env <name[=value]>', 'with --root: a variable for the command; may be given more than once', collect)
    .option('--user <name[:group]>', 'with --root: who runs the command', undefined)
    .option(
      '--net <network>',
      'user[,restrict][,host=loopback], switch=NAME, each with [,bus=name], or none (default: user)',
    )
    .option(
      '--forward <[tcp:|udp:][address:]hostport:[guest:]guestport>',
      'a port of the host that leads to the guest; may be given more than once',
      collect,
    )
    .option('--net-dump <file>', 'write what passes the network to FILE, for Wireshark (pcapng)')
    .option(
      '--vsock <path[,cid=number]>',
      'join the guest\'s vsock to UNIX sockets: PATH leads to the guest ("CONNECT PORT"), its port N of the host to PATH_N',
    )
    .option(
      '--serial <file|unix:path>',
      'a second serial port (ttyS1): write what it sends to FILE, or join it to a UNIX socket',
    )
    .option('--clock <clock>', 'guest time: "host" follows the wall, "virtual" counts instructions', 'host')
    .option('--engine <engine>', '"jit", "interpreter", or "both" to run one against the other')
    .option('--gdb <[host:]port>', 'wait for gdb before the first instruction ("target remote HOST:PORT"); 0: any port')
    .option('-e, --exec <command>', "run COMMAND in the default guest's shell, print its output, end with its status")
    .option('--cold', 'with --exec: boot the guest, though one that has booted is kept in the cache')
    .option('-t, --timeout <seconds>', 'end the run after so many seconds')
    .option(
      '--save <file[@when]>',
      'write a snapshot to FILE: at a number of instructions, at a text of the console; or on SIGUSR2 and in the monitor',
    )
    .option('--restore <file>', 'go on from a snapshot, with its hypervisor, memory and clock')
    .option('--record <file>', 'write down what enters the machine from outside, for --replay')
    .option('--replay <file>', 'repeat a recording, to the instruction')
    .option('--dump <file>', 'when the guest ends badly, write its memory and processors to FILE, an ELF core for gdb')
    .option('--trace <file>', 'write every crossing of the hypervisor\'s interface to FILE, for "polyvisor trace"')
    .option('--symbols <file>', "with --trace: the kernel's System.map (default: the kernel's own table)")
    .option('--json <file>', 'write a summary of the run to FILE')
    .option('-v, --verbose', "with --exec: the kernel's console on stderr; and what the guest asks for in vain")
    .addOption(debugOption())
    .addHelpText('after', `\n${statusHelp}\n\nIn a terminal, Ctrl-A h shows the keys that are not the guest's.`)
    .action(async (kernel: string | undefined, given: RunOptions, command: Command) => {
      const { withKernel } = await import('./kernel-word.ts');
      const shown = guestDisk && given.initrd === undefined ? { ...given, guestDisk } : given;
      const options = withKernel(shown, kernel);
      if (parseSeeds(options.schedule)) {
        // Each seed has a process of its own.
        void early?.worker.terminate();
        const { runSchedules } = await import('./schedules.ts');
        return finish(await runSchedules(options, words));
      }
      const thread = early ?? startGuestThread();
      const { run } = await import('./run.ts');
      const isGiven = (option: keyof RunOptions) =>
        command.getOptionValueSource(option) === 'cli' || (option === 'kernel' && kernel !== undefined);
      finish(await run(options, thread, isGiven));
    });
}

function addMatrix(program: Command, finish: Finish): Command {
  const matrix = program
    .command('matrix')
    .usage('[options] [kernel...]\n       polyvisor matrix merge [options] <report...>')
    .description('boot kernels under every hypervisor, a process a core, and report what became of each')
    .argument(
      '[kernel...]',
      "files, source trees, Debian's flavours such as 686-pae, or packages (default: cloud-amd64)",
    )
    .option('-H, --hypervisor <list>', 'names and files with one, separated by commas (default: all)')
    .option('-i, --initrd <file>', "initial RAM disk instead of the default guest's")
    .option(
      '--root <root>',
      'what "run --root" takes: --test runs in it; what a cell changes in it is gone with the cell',
    )
    .option('--init', "with --root: start the root's own init; then --until says what it is to come to")
    .option('--cwd <path>', 'with --root: where the test starts')
    .option('--env <name[=value]>', 'with --root: a variable for the test; may be given more than once', collect)
    .option('--user <name[:group]>', 'with --root: who runs the test')
    .option('-a, --append <text>', "more words for the kernels' command lines")
    .option('-m, --memory <size>', 'RAM of each cell', '256M')
    .option('--cpus <number[,sockets=,cores=,threads=]>', 'processors of each cell', '1')
    .option('--schedule <fair|seed>', 'how they take turns', 'fair')
    .option(
      '--schedules <number|first-last>',
      'each cell under so many seeds; of a red one, the command that repeats it',
    )
    .option('--test <file>', "a shell script whose exit status is the cell's, instead of the built-in test")
    .option('--until <text>', 'no test: a cell has passed when its console shows TEXT')
    .option('--clock <clock>', 'guest time: "virtual" counts instructions, "host" follows the wall', 'virtual')
    .option('--engine <engine>', '"jit" or "interpreter"')
    .option('-j, --jobs <number>', 'cells at a time (default: one a core)')
    .option('-t, --timeout <seconds>', 'the longest a cell may take', '300')
    .option('--limit <instructions>', 'the most a cell may execute, such as 10G: the same on any host')
    .option('--baseline <file>', 'an earlier --json to compare with')
    .option('--tolerance <share>', 'how much more a cell may cost than in the baseline', '2%')
    .option(
      '--bisect <control>',
      'for "git bisect run": end with 0, 1, or 125 where it does not boot under CONTROL either',
    )
    .option('--shard <i/n>', 'only the Ith of N shares of the cells, for the Ith of N machines; then "matrix merge"')
    .option('--json <file>', 'write the results to FILE: docs/matrix.md says in which shape')
    .option('--junit <file>', 'write JUnit XML to FILE')
    .option('--html <file>', 'write the report to FILE, a page by itself')
    .option('--markdown', 'print the report as Markdown')
    .option('--history <file>', 'append the run to FILE, a line of JSON; the HTML report shows the runs before')
    .option(
      '--record-failures <folder>',
      'leave a recording of each red cell in FOLDER, and the command that repeats it',
    )
    .option('--trace <folder>', "write every crossing of the hypervisors' interfaces to FOLDER, a file a cell")
    .option('--queue <address>', 'have "polyvisor worker" run the cells, by a Redis server: redis://HOST[:PORT]')
    .option(
      '--store <place>',
      'with --queue: a folder that all machines see, or s3://BUCKET[/PREFIX], for kernels and results',
    )
    .option('--priority <number>', 'with --queue: 1 goes first', '100')
    .option('--resume <run>', 'with --queue: collect an earlier run of the same cells')
    .addOption(debugOption())
    .addHelpText('after', '\nExit status: 0 if every cell that should boot passed and none got worse, else 1.')
    .action(async (kernels: string[], options: MatrixOptions) => {
      const { matrix } = await import('./matrix.ts');
      finish(await matrix(kernels, options));
    });
  matrix
    .command('merge')
    .description('make of the reports (--json) of all shards the one that a single machine would have written')
    .argument('<report...>', 'what "matrix --shard I/N --json FILE" wrote, each I from 1 to N')
    .option('--json <file>', 'write the results to FILE')
    .option('--junit <file>', 'write JUnit XML to FILE')
    .option('--html <file>', 'write the report to FILE, a page by itself')
    .option('--markdown', 'print the report as Markdown')
    .option('--history <file>', 'append the run to FILE, a line of JSON; the HTML report shows the runs before')
    .addOption(debugOption())
    .addHelpText('after', '\nExit status: as of the run: 0 if every cell is green and none got worse, else 1.')
    .action(async (files: string[], options: ReportOutputs) => {
      const { mergeCommand } = await import('./matrix-merge.ts');
      finish(mergeCommand(files, options));
    });
  return matrix;
}

function addBisect(program: Command, finish: Finish): void {
  program
    .command('bisect')
    .description('find the first kernel of a row that fails under a hypervisor; status 1 where some cannot be judged')
    .argument('<kernel...>', "two of Debian's packages, A..B, and those between; or files from a good one to a bad one")
    .option('-H, --hypervisor <list>', 'names and files with one, each by itself (default: all)')
    .option('-i, --initrd <file>', "initial RAM disk instead of the default guest's")
    .option('-a, --append <text>', "more words for the kernels' command lines")
    .option('-m, --memory <size>', 'RAM', '256M')
    .option('--cpus <number[,sockets=,cores=,threads=]>', 'processors', '1')
    .option('--schedule <fair|seed>', 'how they take turns', 'fair')
    .option('--test <file>', 'a shell script: a kernel is good where it ends with 0 (default: the built-in test)')
    .option('--until <text>', 'no test: a kernel is good when its console shows TEXT')
    .option('--clock <clock>', 'guest time: "virtual" counts instructions, "host" follows the wall', 'virtual')
    .option('--engine <engine>', '"jit" or "interpreter"')
    .option('-t, --timeout <seconds>', 'the longest a boot may take', '300')
    .option('--limit <instructions>', 'the most a boot may execute, such as 10G: the same on any host')
    .addOption(debugOption())
    .action(async (kernels: string[], options: BisectOptions) => {
      const { bisect } = await import('./bisect.ts');
      finish(await bisect(kernels, options));
    });
}

function addWorker(program: Command, finish: Finish): void {
  program
    .command('worker')
    .description('run the cells of "matrix --queue", until Ctrl-C')
    .requiredOption('--queue <address>', 'a Redis server: redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:')
    .option('--store <place>', 'a folder that all machines see, or s3://BUCKET[/PREFIX], for kernels and results')
    .option('-j, --jobs <number>', 'cells at a time (default: one a core)')
    .option('--lease <seconds>', 'when a worker that is not heard of is taken for lost', '30')
    .addOption(debugOption())
    .action(async (options: WorkerOptions) => {
      const { worker } = await import('./fleet/worker.ts');
      finish(await worker(options));
    });
}

function addList(program: Command): void {
  program
    .command('list')
    .description('list the hypervisors, or what some of them change')
    .argument('[name...]', 'of which to say everything')
    .option('--all', 'say everything of every one')
    .option('--json', 'everything, as JSON')
    .option('--rom', 'the code of those that are a ROM, as it is assembled')
    .addOption(debugOption())
    .action(async (names: string[], options: ListOptions) => {
      const { listHypervisors } = await import('./list.ts');
      listHypervisors(names, options);
    });
}

function addGuest(program: Command): Command {
  const guest = program
    .command('guest')
    .usage('[options]\n       polyvisor guest debian [options]')
    .description("fetch Debian's kernel and make the default guest of it, or look for a newer one")
    .option('--arch <architecture>', 'amd64 or i386', 'amd64')
    .option('--flavour <name>', `which of Debian's kernels: ${FLAVOURS}`)
    .option('--cached', 'ask the archives only if there is none in the cache')
    .option('--json [file]', 'print what was made as JSON, or write it to FILE')
    .addOption(debugOption())
    .action(async (options: GuestCommandOptions) => {
      const { guestCommand } = await import('./guest.ts');
      await guestCommand(options);
    });
  guest
    .command('debian')
    .description("make a root of Debian's packages, for --root debian; or look for newer ones")
    .option('--packages <names>', 'what it has besides a small system with systemd, such as python3,gcc')
    .option('--arch <architecture>', 'amd64 or i386', 'amd64')
    .option('--cached', 'ask the archives only if there is none in the cache')
    .option('--json [file]', 'print what was made as JSON, or write it to FILE')
    .addOption(debugOption())
    .action(async (options: RootCommandOptions) => {
      const { rootCommand } = await import('./guest.ts');
      await rootCommand(options);
    });
  return guest;
}

function addWeb(program: Command, finish: Finish): void {
  program
    .command('web')
    .description('serve a page that boots kernels in the browser, with what crosses the interface shown beside them')
    .argument('[kernel...]', "kernels to choose from besides Debian's")
    .option('-p, --port <port>', 'of 127.0.0.1; 0 for any that is free', '8086')
    .option('-i, --initrd <file>', "initial RAM disk of these kernels instead of the default guest's")
    .option('-o, --output <folder>', 'write the page there instead, as static files for any server')
    .addOption(debugOption())
    .action(async (kernels: string[], options: WebOptions) => {
      const { web } = await import('./web.ts');
      finish(await web(kernels, options));
    });
}

function addConform(program: Command, finish: Finish): void {
  program
    .command('conform')
    .description('ask a hypervisor, of the list or from a file, whether it does what every hypervisor must')
    .argument('<name|file>', 'a name, or a .wasm, .js or .ts file')
    .option('--json <file>', 'write the results to FILE')
    .addOption(debugOption())
    .action(async (hypervisor: string, options: { json?: string }) => {
      const { conform } = await import('./conform.ts');
      finish(await conform(hypervisor, options));
    });
}

function addReplay(program: Command, finish: Finish): void {
  program
    .command('replay')
    .usage('--compare [options] <old> <new>')
    .description('say where two recordings of one kernel differ first, and how; ends with 1 where they do')
    .argument('<recording...>', 'what "run --record" wrote')
    .option('--compare', 'repeat both side by side, each in the tier that it was recorded in')
    .option('--until <text>', 'compare up to where both consoles have shown TEXT')
    .option('-d, --disk <file,ro>', 'a disk that the machines had; may be given more than once', collect)
    .addOption(debugOption())
    .action(async (files: string[], options: ReplayOptions) => {
      const { replay } = await import('./replay.ts');
      finish(await replay(files, options));
    });
}

function addTrace(program: Command, finish: Finish): Command {
  const trace = program.command('trace').description('look at what --trace wrote');
  trace
    .command('show')
    .description('print the crossings, a line each: instructions, where, what')
    .argument('<file>', 'a trace')
    .option('--match <expression>', 'only lines that match a regular expression')
    .addOption(debugOption())
    .action(async (file: string, options: TraceShowOptions) => {
      const { showTrace } = await import('./trace.ts');
      showTrace(file, options);
    });
  trace
    .command('diff')
    .description('say what one run asked that the other did not, and in which order; ends with 1 where they differ')
    .argument('<before>', 'a trace')
    .argument('<after>', 'another one')
    .option('--all', 'all differences, however many')
    .option('--steps', 'also every step in order, where loops and interrupts leave their marks')
    .addOption(debugOption())
    .action(async (before: string, after: string, options: TraceDiffOptions) => {
      const { diffTraces } = await import('./trace.ts');
      finish(diffTraces(before, after, options));
    });
  trace
    .command('export')
    .description('write a trace in the format of Chrome and Perfetto')
    .argument('<file>', 'a trace')
    .argument('<output>', 'a JSON file')
    .addOption(debugOption())
    .action(async (file: string, output: string) => {
      const { exportTrace } = await import('./trace.ts');
      exportTrace(file, output);
    });
  return trace;
}

function debugOption(): Option {
  return new Option('--debug', 'when something in polyvisor itself breaks, show where');
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

function commandPath(command: Command): string {
  return command.parent ? `${commandPath(command.parent)} ${command.name()}` : command.name();
}

/** Says what went wrong in one line. @returns the exit status. */
function report(error: unknown, debug: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? status.ok : status.usage;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Failure) return say(message, error.status);
  if (error instanceof ImageError) return say(message, status.image);
  const limit = hostLimit(error);
  if (limit !== undefined) return say(limit, status.host, debug && error);
  const hint = debug ? '' : ' (--debug shows where)';
  if (isHostError(error)) return say(`the host refused: ${message}${hint}`, status.output, debug && error);
  return say(`a mistake in polyvisor itself: ${message}${hint}`, status.internal, debug && error);
}

/** The line may repeat what a guest, a file or a plug-in has said: none of them commands the terminal. */
function say(message: string, exitStatus: number, details: unknown = false): number {
  if (message !== '') process.stderr.write(`polyvisor: ${visibleLine(message)}\n`);
  if (details instanceof Error) process.stderr.write(`${details.stack}\n`);
  return exitStatus;
}
