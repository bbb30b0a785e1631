/** The monitor (Ctrl-A c): the guest stands still, and its person looks at it line by line. */
import { createInterface } from 'node:readline';
import { formatSize } from '../boot/image-error.ts';
import { visible } from '../matrix/escape.ts';
import { nearest } from './nearest.ts';
import { describeCounters } from './report.ts';
import type { ThreadMachine } from './thread.ts';
import { parseMemory } from './values.ts';

const COMMANDS = {
  registers: 'the processor: registers, pending interrupts, the last instructions',
  counters: 'time, instructions, exits and operations so far',
  dump: 'FILE: write memory and processors, as an ELF core for gdb',
  save: 'FILE: write a snapshot, for "run --restore FILE"',
  log: 'what the guest asked for that is not there',
  shutdown: 'ask the guest to switch itself off, and let it go on',
  memory: 'SIZE: ask the guest to make do with so much RAM (512M, 1G), and let it go on',
  continue: 'let the guest go on (so does an empty line)',
  quit: 'switch the machine off',
  help: 'this list',
} as const;
type Command = keyof typeof COMMANDS;
const NAMES = Object.keys(COMMANDS) as Command[];

/** Asks until the person wants to go on or to leave. Any unambiguous beginning of a command will do. */
export async function monitor(machine: ThreadMachine): Promise<'continue' | 'quit'> {
  const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: '(polyvisor) ' });
  lines.on('SIGINT', () => lines.write('', { ctrl: true, name: 'u' }));
  process.stdout.write('\nThe guest stands still. "help" lists what can be asked, "continue" lets it go on.\n');
  try {
    lines.prompt();
    for await (const line of lines) {
      const [word = '', ...rest] = line.trim().split(/\s+/);
      const command = commandNamed(word);
      if (command === 'continue' || command === 'quit') return command;
      if (command === 'shutdown') {
        machine.request('shutdown');
        return 'continue';
      }
      if (command === 'memory') {
        const mistake = requestMemory(machine, rest.join(' '));
        if (mistake === undefined) return 'continue';
        process.stdout.write(`${mistake}\n`);
        lines.prompt();
        continue;
      }
      const text =
        command === 'save' || command === 'dump'
          ? await write(machine, command, rest.join(' '))
          : command && answer(command, machine);
      process.stdout.write(`${visible(text ?? unknown(word))}\n`);
      lines.prompt();
    }
    process.stdout.write('\n');
    return 'continue';
  } finally {
    lines.close();
  }
}

function commandNamed(word: string): Command | undefined {
  if (word === '') return 'continue';
  const fitting = NAMES.filter(name => name.startsWith(word));
  return fitting.length === 1 ? fitting[0] : undefined;
}

/** @returns what is wrong with the size */
function requestMemory(machine: ThreadMachine, size: string): string | undefined {
  try {
    machine.request({ memory: parseMemory(size, 'memory') });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function write(machine: ThreadMachine, command: 'save' | 'dump', file: string): Promise<string> {
  if (file === '') return `${command} where: "${command} FILE"`;
  try {
    const { size, instructions } = await machine[command](file);
    return `written: ${formatSize(size)}, at instruction ${instructions}`;
  } catch (error) {
    return `not written: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function answer(
  command: Exclude<Command, 'continue' | 'quit' | 'save' | 'dump' | 'shutdown' | 'memory'>,
  machine: ThreadMachine,
): string {
  switch (command) {
    case 'registers':
      return machine.describe();
    case 'counters':
      return describeCounters(machine.statistics);
    case 'log':
      return machine.log.length > 0 ? machine.log.join('\n') : 'nothing';
    case 'help':
      return NAMES.map(name => `${name.padEnd(10)} ${COMMANDS[name]}`).join('\n');
  }
}

function unknown(word: string): string {
  const meant = NAMES.find(name => name.startsWith(word)) ?? nearest(word, NAMES);
  return `unknown: "${word}"${meant ? `: did you mean ${meant}?` : ': try help'}`;
}
