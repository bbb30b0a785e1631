/**
 * The exit statuses of `polyvisor run`. With --exec the guest's own comes through unchanged, whatever it is; ours keep away from
 * what programs usually end with: 64-78 are those of sysexits.h, 118-124 are free by custom but for 124, which means a time
 * limit to timeout(1) too. Each of ours comes with a line on stderr.
 */
import type { Exit } from '../exits.ts';

export const status = {
  /** The guest powered itself off, or the user ended the run with Ctrl-A x. */
  ok: 0,
  /** Of `matrix`: a cell that should have booted did not, or got worse than the baseline. */
  cells: 1,
  /** The command line is wrong. */
  usage: 64,
  /** A kernel, initrd or disk image that is none or does not go together. */
  image: 65,
  /** A file that cannot be opened or read. */
  noInput: 66,
  /** The default guest cannot be had, or the set-up failed. */
  unavailable: 69,
  /** A mistake of ours. */
  internal: 70,
  /** The host gives this process too little of something: memory, open files. */
  host: 71,
  /** A file that cannot be written. */
  output: 74,
  /** A disk image, or a port of the host's, that another process uses or that cannot be had. */
  inUse: 75,
  /** The guest asked for a reset. */
  reset: 118,
  /** The guest ended before the command of --exec did. */
  noStatus: 119,
  /** The guest's kernel panicked, or it reported a crash of its own. */
  panic: 120,
  /** Three faults on top of each other: the processor shut down. */
  tripleFault: 121,
  /** The guest asked its hypervisor for the impossible. */
  killed: 122,
  /** Halted with interrupts off and nothing that could wake it. */
  deadHalt: 123,
  /** --timeout passed. */
  timeout: 124,
  /** Of `matrix --bisect`: the kernel cannot be judged (git-bisect(1): from 1 to 127 but 125 it is bad, from 128 on the search ends). */
  bisectSkip: 125,
  /** Of `matrix --bisect`: whatever else ends the command, with its line on stderr. */
  bisectAbort: 128,
  /** Ended by Ctrl-C: 128 and SIGINT's number. */
  interrupted: 130,
  /** Nobody reads our output any more: 128 and SIGPIPE's number. */
  brokenPipe: 141,
} as const;

const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGPIPE: 13, SIGTERM: 15 } as const;

/** How a run ended: as the machine told it, and what only the command knows. */
export interface Ending {
  exit: Exit;
  /** What the command of --exec ended with; undefined without --exec, or if it did not. */
  commandStatus?: number;
  /** --exec was given. */
  command: boolean;
  /** The signal that ended the run. */
  signal?: keyof typeof SIGNAL_NUMBERS;
}

export function statusOf({ exit, commandStatus, command, signal }: Ending): number {
  if (signal) return 128 + SIGNAL_NUMBERS[signal];
  // A guest that panics on its way down has still given its answer; one that is stuck there has, too.
  if (commandStatus !== undefined) return commandStatus;
  switch (exit.kind) {
    case 'power-off':
      return command ? status.noStatus : (exit.status ?? status.ok);
    case 'reset':
      return command ? status.noStatus : status.reset;
    case 'panic':
      return status.panic;
    case 'killed':
      return status.killed;
    case 'triple-fault':
      return status.tripleFault;
    case 'dead-halt':
      return status.deadHalt;
    case 'timeout':
      return status.timeout;
    case 'stopped':
      return status.ok;
  }
}

/** One sentence for the user; undefined where nothing needs saying. */
export function reasonOf({ exit, commandStatus, command, signal }: Ending): string | undefined {
  if (signal) return signal === 'SIGPIPE' ? undefined : `ended by ${signal}`;
  if (commandStatus !== undefined) return undefined;
  switch (exit.kind) {
    case 'power-off':
      return command ? 'the guest powered off before the command had ended' : undefined;
    case 'reset':
      return command ? 'the guest reset itself before the command had ended' : 'the guest asked for a reset';
    case 'panic':
      return `the guest's kernel panicked: ${exit.reason}`;
    case 'killed':
      return `the guest was ended: ${exit.reason}`;
    case 'triple-fault':
      return `the guest's processor shut down after a triple fault: ${exit.reason}`;
    case 'dead-halt':
      return 'the guest halted with interrupts off: nothing can wake it';
    case 'timeout':
      return 'the time limit has passed';
    case 'stopped':
      return undefined;
  }
}

/** True where the state of the machine is worth showing. */
export function isAbnormal({ exit, commandStatus, signal }: Ending): boolean {
  if (signal || commandStatus !== undefined) return false;
  return !['power-off', 'reset', 'stopped'].includes(exit.kind);
}

/** The table of --help. */
export const statusHelp = `Exit status:
  with --exec  the command's own
  ${status.ok}    the guest powered off, or was left with Ctrl-A x
  ${status.usage}   usage error            ${status.reset}  the guest asked for a reset
  ${status.image}   unusable image         ${status.noStatus}  the guest ended before the command did
  ${status.noInput}   unreadable file        ${status.panic}  kernel panic
  ${status.unavailable}   guest not available    ${status.tripleFault}  triple fault
  ${status.internal}   a mistake of ours      ${status.killed}  the guest asked for the impossible
  ${status.host}   a limit of the host    ${status.deadHalt}  halted for ever
  ${status.output}   unwritable file        ${status.timeout}  time limit
  ${status.inUse}   disk image or port in use`;
