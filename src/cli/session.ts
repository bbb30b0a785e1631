/**
 * The terminal's side of a run: what the guest prints goes where it belongs, what is typed reaches the guest or us, and
 * whatever ends the run (the guest, a key, a signal, the time limit, a panic) ends it once.
 */
import { constants } from 'node:os';
import { commandParameters, OutputParser } from '../boot/exec-protocol.ts';
import { createTerminalConsole } from '../host/node/console-terminal.ts';
import type { Console, Exit } from '../index.ts';
import { createBatch } from '../remote/batch.ts';
import { createConsoleWatch } from './console-watch.ts';
import { createDecisions } from './decisions.ts';
import { createEscapeFilter, keyHelp } from './escape-keys.ts';
import type { Ending } from './exit-status.ts';
import { monitor } from './monitor.ts';
import type { ChannelUser, ThreadMachine } from './thread.ts';
import { createTypedInput } from './typed-input.ts';

/** How long a guest may take to power off after the command of --exec has ended, in ms. */
const POWER_OFF_GRACE = 10_000;
/** End of transmission: how a terminal says that there is no more input. */
const CONTROL_D = Uint8Array.of(4);

export interface SessionOptions {
  /** The command of --exec. */
  exec: string | undefined;
  /** With --exec: the kernel's console goes to stderr. */
  verbose: boolean;
  /** Seconds. */
  timeout: number | undefined;
  /** The guest is ours: its shell ends with the input, and it knows what to do with a terminal's size. */
  ownGuest: boolean;
  /** A command runs in a root of its own: its streams and its status come through the channel. */
  channel: boolean;
  /** And its terminal is the console. */
  isTerminal: boolean;
}

export interface Session {
  readonly console: Console;
  /** The end of the channel that is here, where there is one. */
  readonly channel: ChannelUser | undefined;
  /** Words for the kernel's command line. */
  readonly parameters: string;
  /** Runs `machine` to its end. */
  run(machine: ThreadMachine): Promise<Ending>;
  /** How a line on stderr ends: a terminal that is the guest's does not return by itself. */
  readonly lineEnd: string;
  /** The console's last lines, as far as the user has not seen them. */
  readonly unseen: readonly string[];
}

export function createSession(options: SessionOptions): Session {
  const { exec, verbose, timeout, ownGuest, isTerminal } = options;
  const terminal = createTerminalConsole();
  const command = exec !== undefined || options.channel;
  const interactive = terminal.interactive && (!command || isTerminal);
  const decisions = createDecisions();
  const streams = options.channel ? createStreams(decisions) : undefined;

  const parser =
    exec === undefined || streams
      ? undefined
      : new OutputParser(exec, {
          output: bytes => terminal.write(bytes),
          console: bytes => void (verbose && process.stderr.write(bytes)),
        });
  const watch = createConsoleWatch(() => decisions.suspectPanic(() => watch.panic));
  const typed = createTypedInput(terminal.type);
  const output = createBatch(data => {
    watch.write(data);
    if (parser) {
      const before = parser.status;
      parser.feed(data);
      if (before === undefined && parser.status !== undefined) decisions.stopIn(POWER_OFF_GRACE);
    } else if (!streams || isTerminal) terminal.write(data);
    else if (verbose) process.stderr.write(data);
    typed.output(watch.line);
  }, setImmediate);

  const keys = createEscapeFilter(key => {
    if (key === 'help') process.stdout.write(`\r\n${keyHelp.replaceAll('\n', '\r\n')}\r\n`);
    else decisions.decide(key);
  });

  /** Connects standard input, where it is the guest's. */
  const listen = () => {
    if (command && !isTerminal) return;
    if (interactive) return terminal.open(keys);
    process.stdin.on('data', typed.push);
    if (ownGuest) process.stdin.once('end', () => typed.end(CONTROL_D));
  };

  return {
    console: { write: output.add, onInput: terminal.onInput },
    channel: streams,
    parameters: [command ? commandParameters(verbose) : '', interactive && ownGuest ? terminalParameters() : '']
      .join(' ')
      .trim(),
    lineEnd: interactive ? '\r\n' : '\n',
    get unseen() {
      return (parser || (streams && !isTerminal)) && !verbose ? watch.tail : [];
    },
    async run(machine) {
      decisions.start(machine, timeout);
      if (interactive) process.stderr.write('polyvisor: Ctrl-A x leaves, Ctrl-A h shows more\r\n');
      let exit: Exit;
      try {
        for (;;) {
          listen();
          exit = await machine.run();
          output.flush();
          if (exit.kind !== 'stopped' || !decisions.take('monitor')) break;
          terminal.close();
          if ((await monitor(machine)) === 'quit' || decisions.ended) break;
          process.stdout.write('The guest goes on.\n');
        }
        if (interactive && watch.line !== '') process.stdout.write('\r\n');
      } finally {
        output.flush();
        parser?.finish();
        typed.close();
        terminal.close();
        decisions.finish();
      }
      const commandStatus = parser?.status ?? streams?.ended;
      return {
        exit: decisions.explain(exit, watch.panic),
        command,
        ...(commandStatus !== undefined && { commandStatus }),
        ...(decisions.signal && { signal: decisions.signal }),
      };
    },
  };
}

/** Standard input, output and error as the channel's, and the signals that the command is to hear of. */
function createStreams({
  stopIn,
  handOver,
}: Pick<ReturnType<typeof createDecisions>, 'stopIn' | 'handOver'>): ChannelUser & {
  readonly ended: number | undefined;
} {
  const { stdin } = process;
  let ended: number | undefined;
  let wanted: ((data?: Uint8Array) => void) | undefined;
  let listening = false;
  const give = (data?: Uint8Array) => {
    stdin.pause();
    wanted?.(data);
    wanted = undefined;
  };
  return {
    output: (stream, data) => void process[stream].write(data),
    status(value) {
      ended = value;
      handOver(undefined);
      stopIn(POWER_OFF_GRACE);
    },
    wantsInput(take) {
      // Nobody types: what is not a terminal is read to its end.
      if (stdin.isTTY || stdin.readableEnded) return take();
      wanted = take;
      if (!listening) stdin.on('data', give).once('end', () => give());
      listening = true;
      stdin.resume();
    },
    takesSignals(send) {
      if (ended === undefined) handOver(name => send(constants.signals[name]));
    },
    get ended() {
      return ended;
    },
  };
}

/** A serial line carries no size of the terminal: the default guest's /init sets it from its environment. */
function terminalParameters(): string {
  const { rows, columns } = process.stdout;
  const size = rows && columns ? `LINES=${rows} COLUMNS=${columns} ` : '';
  const type = process.env.TERM;
  return type && /^[\w.+-]{1,32}$/.test(type) ? `${size}TERM=${type}` : size;
}
