/** The monitor (Ctrl-A c): the guest stands still, and its person looks at it line by line. */
import { createInterface } from 'node:readline/promises';
import type { Machine } from '../machine.ts';
import { nearest } from './nearest.ts';
import { describeCounters } from './report.ts';

const COMMANDS = {
  registers: 'the processor: registers, pending interrupts, the last instructions',
  counters: 'time, instructions, exits and operations so far',
  log: 'what the guest asked for that is not there',
  continue: 'let the guest go on (so does an empty line)',
  quit: 'switch the machine off',
  help: 'this list',
} as const;
type Command = keyof typeof COMMANDS;
const NAMES = Object.keys(COMMANDS) as Command[];

/** Asks until the person wants to go on or to leave. Any unambiguous beginning of a command will do. */
export async function monitor(machine: Machine): Promise<'continue' | 'quit'> {
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  const closed = new Promise<undefined>(resolve => lines.once('close', () => resolve(undefined)));
  lines.on('SIGINT', () => lines.write('', { ctrl: true, name: 'u' }));
  process.stdout.write('\nThe guest stands still. "help" lists what can be asked, "continue" lets it go on.\n');
  try {
    for (;;) {
      const line = await Promise.race([lines.question('(polyvisor) '), closed]);
      if (line === undefined) {
        process.stdout.write('\n');
        return 'continue';
      }
      const word = line.trim();
      const fitting = NAMES.filter(name => name.startsWith(word));
      switch (word === '' ? 'continue' : fitting.length === 1 ? fitting[0] : undefined) {
        case 'registers':
          process.stdout.write(`${machine.describe()}\n`);
          break;
        case 'counters':
          process.stdout.write(`${describeCounters(machine.statistics)}\n`);
          break;
        case 'log':
          process.stdout.write(`${machine.log.length > 0 ? machine.log.join('\n') : 'nothing'}\n`);
          break;
        case 'help':
          for (const name of NAMES) process.stdout.write(`${name.padEnd(10)} ${COMMANDS[name]}\n`);
          break;
        case 'continue':
          return 'continue';
        case 'quit':
          return 'quit';
        default: {
          const meant = fitting[0] ?? nearest(word, NAMES);
          process.stdout.write(`unknown: "${word}"${meant ? `: did you mean ${meant}?` : ': try help'}\n`);
        }
      }
    }
  } finally {
    lines.close();
  }
}
