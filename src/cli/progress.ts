/** Progress on stderr: one line that changes in a terminal, a line a step elsewhere. */
import type { GuestProgress } from '../host/node/guest.ts';

/** @returns what to call with each step; `done` ends the line. */
export function showProgress(stream: NodeJS.WriteStream = process.stderr) {
  let last = '';
  let open = false;
  const endLine = () => {
    if (open) stream.write('\n');
    open = false;
  };
  return {
    report({ step, text, fraction }: Pick<GuestProgress, 'text' | 'fraction'> & { step?: string }): void {
      if (!stream.isTTY || step === 'note') {
        endLine();
        if (text !== last) stream.write(`polyvisor: ${text}\n`);
      } else {
        if (open && text !== last) endLine();
        const percent = fraction === undefined ? '' : `  ${Math.floor(fraction * 100)} %`;
        stream.write(`\r\x1b[Kpolyvisor: ${text}${percent}`);
        open = true;
      }
      last = text;
    },
    done: endLine,
  };
}
