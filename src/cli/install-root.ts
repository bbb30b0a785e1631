/** Makes a Debian root of its packages in a guest: `polyvisor run` in a process of its own, with what it prints read along. */
import { spawn } from 'node:child_process';
import { INSTALL_SCRIPT, SETTING_UP, STEP } from '../boot/debian/install-script.ts';
import { ImageError } from '../boot/image-error.ts';
import type { InstallRoot } from '../host/node/debian-root.ts';
import type { GuestProgress } from '../host/node/guest.ts';

/** The guest's RAM: perl's and systemd's scripts want some. */
const MEMORY = '512M';
/** Seconds: a busy machine takes its time. */
const LONGEST = 3600;
/** Lines of what was printed last, for those that say what went wrong. */
const KEPT_LINES = 40;

/** What is said of a step, by the word that the script has for it. */
const STEPS: ReadonlyMap<string, string> = new Map([
  ['file system', 'Making the file system in a guest'],
  ['unpack', 'Unpacking the packages in the guest'],
  ['prepare', 'Preparing the configuration'],
  ['configure', 'Configuring the packages'],
  ['settings', 'Settling the system'],
  ['end', 'Ending the guest'],
]);

/** @param program the words that start Polyvisor's command line */
export function installBy(program: readonly string[]): InstallRoot {
  return async ({ image, archive, tools, count }, architecture, progress, onInterrupt) => {
    const disk = (path: string, more = '') => ['--disk', `${path.replaceAll(',', ',,')}${more}`];
    const [first, ...words] = program;
    const child = spawn(
      first!,
      [
        ...words,
        ...['run', '--arch', architecture, '--memory', MEMORY, '--net', 'none'],
        ...disk(image),
        ...disk(archive, ',ro'),
        ...disk(tools, ',ro'),
        ...['--timeout', String(LONGEST), '--exec', INSTALL_SCRIPT],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    onInterrupt(() => child.kill('SIGKILL'));
    const reader = createReader(count, progress);
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', reader.feed);
    const code = await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', code => resolve(code ?? -1));
    });
    if (code === 0) return;
    throw new ImageError(
      `the guest that makes the root ended with ${code} (${reader.reason()}); "polyvisor guest debian" tries again`,
    );
  };
}

/** Makes progress of what is printed. @param count packages */
export function createReader(count: number, progress: (progress: GuestProgress) => void) {
  let rest = '';
  let text = 'Starting a guest';
  let done = 0;
  const last: string[] = [];
  progress({ step: 'build', text });
  const line = (printed: string) => {
    if (printed.startsWith(STEP)) {
      text = STEPS.get(printed.slice(STEP.length).trim()) ?? text;
      progress({ step: 'build', text });
      return;
    }
    last.push(printed);
    if (last.length > KEPT_LINES) last.shift();
    if (printed.startsWith(SETTING_UP)) progress({ step: 'build', text, fraction: Math.min(1, ++done / count) });
  };
  return {
    feed(data: string): void {
      const lines = (rest + data).split('\n');
      rest = lines.pop() ?? '';
      for (const one of lines) line(one.trimEnd());
    },
    /** The line that says most of what went wrong. */
    reason(): string {
      const lines = [...last, rest].filter(one => one.trim() !== '').reverse();
      const errors = lines.filter(one => /error|cannot|can't|fail|No space|ended with|not found/i.test(one));
      return errors.slice(0, 2).reverse().join('; ') || (lines[0] ?? 'it said nothing');
    },
  };
}
