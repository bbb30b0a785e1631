/**
 * The command line: which words there are and what becomes of errors. Each command's work is a module of its own that is
 * loaded when it is called, so that --help costs nothing.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { ImageError } from '../boot/image-error.ts';
import { status, statusHelp } from './exit-status.ts';
import { Failure, isHostError } from './failure.ts';
import type { GuestCommandOptions } from './guest.ts';
import type { RunOptions } from './settings.ts';

/** Runs the command and ends the process. */
export async function main(words: readonly string[]): Promise<void> {
  const debug = words.includes('--debug');
  const fail = (error: unknown) => {
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
    process.exit(report(error, debug));
  };
  process.on('uncaughtException', fail);
  try {
    let exitStatus: number = status.ok;
    const program = createProgram(result => void (exitStatus = result));
    await program.parseAsync(words, { from: 'user' });
    process.exit(exitStatus);
  } catch (error) {
    fail(error);
  }
}

function createProgram(finish: (exitStatus: number) => void): Command {
  const program = new Command('polyvisor')
    .description("Boots an unmodified kernel under any hypervisor's guest interface, with no hypervisor and no root.")
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .configureOutput({ writeErr: text => void process.stderr.write(text.replace(/^error: /, 'polyvisor: ')) })
    .exitOverride();

  program
    .command('run')
    .description("boot a kernel; with no options, Debian's, to a shell")
    .option('-H, --hypervisor <name>', 'whose guest interface: see "polyvisor list"', 'bare')
    .option('-k, --kernel <file>', 'bzImage or vmlinux (default: Debian\'s, fetched once by "polyvisor guest")')
    .option('-i, --initrd <file>', "initial RAM disk (default: the default guest's, with the default kernel)")
    .option('-a, --append <text>', "more words for the kernel's command line")
    .option('-m, --memory <size>', 'RAM, such as 512M or 1G', '256M')
    .option('-d, --disk <file[,ro][,format=raw]>', 'a raw disk image; may be given more than once', collect)
    .option('--clock <clock>', 'guest time: "host" follows the wall, "virtual" counts instructions', 'host')
    .option('--engine <engine>', '"jit", "interpreter", or "both" to run one against the other')
    .option('-e, --exec <command>', "run COMMAND in the default guest's shell, print its output, end with its status")
    .option('-t, --timeout <seconds>', 'end the run after so many seconds')
    .option('--trace <file>', "write every crossing of the hypervisor's interface to FILE, a line of JSON each")
    .option('--json <file>', 'write a summary of the run to FILE')
    .option('-v, --verbose', "with --exec: the kernel's console on stderr; and what the guest asks for in vain")
    .addOption(debugOption())
    .addHelpText('after', `\n${statusHelp}\n\nIn a terminal, Ctrl-A h shows the keys that are not the guest's.`)
    .action(async (options: RunOptions) => {
      const { run } = await import('./run.ts');
      finish(await run(options));
    });

  program
    .command('list')
    .description('list the hypervisors and what each changes')
    .option('--json', 'as JSON')
    .addOption(debugOption())
    .action(async (options: { json?: boolean }) => {
      const { listHypervisors } = await import('./list.ts');
      listHypervisors(options);
    });

  program
    .command('guest')
    .description("fetch Debian's kernel and make the default guest of it, or look for a newer one")
    .option('--arch <architecture>', 'amd64 or i386', 'amd64')
    .option('--flavour <name>', "which of Debian's kernels: cloud-amd64, amd64; 686-pae, 686")
    .option('--cached', 'ask the archives only if there is none in the cache')
    .option('--json [file]', 'print what was made as JSON, or write it to FILE')
    .addOption(debugOption())
    .action(async (options: GuestCommandOptions) => {
      const { guestCommand } = await import('./guest.ts');
      await guestCommand(options);
    });

  for (const command of [program, ...program.commands]) {
    if (command !== program) command.copyInheritedSettings(program);
    command.showHelpAfterError(`(${commandPath(command)} --help lists what there is)`).allowExcessArguments(false);
  }
  return program;
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
  const hint = debug ? '' : ' (--debug shows where)';
  if (isHostError(error)) return say(`the host refused: ${message}${hint}`, status.output, debug && error);
  return say(`a mistake in polyvisor itself: ${message}${hint}`, status.internal, debug && error);
}

function say(message: string, exitStatus: number, details: unknown = false): number {
  process.stderr.write(`polyvisor: ${message}\n`);
  if (details instanceof Error) process.stderr.write(`${details.stack}\n`);
  return exitStatus;
}

function packageVersion(): string {
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
