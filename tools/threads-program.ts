/** src/matrix/threads-program.ts: the program of guests/threads as text that a guest's shell unpacks. */
import { assembled } from '../tests/assembled.ts';

const WIDTH = 100;

export function threadsProgram(): string {
  const lines = Buffer.from(assembled('threads'))
    .toString('base64')
    .match(new RegExp(`.{1,${WIDTH}}`, 'g'))!;
  return `/** guests/threads/start.S, assembled, in base64: made by "npm run docs". */\nexport const THREADS_PROGRAM = \`\\\n${lines.join('\n')}\`;\n`;
}
