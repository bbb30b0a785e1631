/** Runs bin/polyvisor as a user would, in a process of its own with a time limit. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const program = fileURLToPath(new URL('../../bin/polyvisor', import.meta.url));

export interface CommandResult {
  /** The exit status; 128 and the signal's number where one ended it. */
  status: number;
  stdout: string;
  stderr: string;
  /** Wall time in seconds. */
  seconds: number;
  /** The most memory the process ever had in use, in bytes; 0 where the host does not tell. */
  peakMemory: number;
  /** True if the time limit of the test ended it. */
  expired: boolean;
}

export interface CommandOptions {
  /** What is typed; the input ends after it. */
  input?: string;
  /** What is typed instead, each piece once stdout has shown `after` behind what the last one waited for. */
  dialogue?: readonly { after: string; type: string }[];
  /** Through script(1), so that the command finds a terminal. */
  terminal?: boolean;
  /** Limit in seconds; 180 by default. */
  limit?: number;
  env?: Record<string, string>;
  /** Hears every piece of stdout with its time (ms). */
  onOutput?: (text: string, time: number) => void;
  /** Hears every piece of stderr. */
  onError?: (text: string) => void;
  /** A signal to send once stdout or stderr contains `after`, and `delay` ms have passed. */
  signal?: { after: string; name: NodeJS.Signals; delay?: number };
}

export function polyvisor(words: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const { input = '', limit = 180 } = options;
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const quoted = [program, ...words].map(word => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
    const [command, args] = options.terminal ? ['script', ['-qfec', quoted, '/dev/null']] : [program, words];
    const child = spawn(command, args, { stdio: 'pipe', env: { ...process.env, ...options.env } });
    const dialogue = [...(options.dialogue ?? [])];
    let heard = 0;
    let stdout = '';
    let stderr = '';
    let peakMemory = 0;
    let expired = false;
    const watch = setInterval(() => (peakMemory = Math.max(peakMemory, peakOf(child.pid!))), 250);
    const timer = setTimeout(() => {
      expired = true;
      child.kill('SIGKILL');
    }, limit * 1000);
    let signalled = false;
    const signalAfter = (output: string) => {
      if (signalled || !options.signal || !output.includes(options.signal.after)) return;
      signalled = true; // A second one would end it without a word.
      const { name, delay } = options.signal;
      if (delay) setTimeout(() => child.kill(name), delay);
      else child.kill(name);
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      options.onOutput?.(text, performance.now());
      for (let at: number; dialogue.length > 0 && (at = stdout.indexOf(dialogue[0].after, heard)) >= 0; ) {
        const { after, type } = dialogue.shift()!;
        heard = at + after.length;
        child.stdin.write(type);
      }
      signalAfter(stdout);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      signalAfter(stderr);
      options.onError?.(text);
    });
    child.stdin.on('error', () => {}); // The command may end before it has read everything.
    if (!options.dialogue) child.stdin.end(input);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearInterval(watch);
      clearTimeout(timer);
      const status = code ?? 128 + constants.signals[signal!];
      resolve({ status, stdout, stderr, seconds: (performance.now() - start) / 1000, peakMemory, expired });
    });
  });
}

/** VmHWM, Linux's high-water mark of a process's memory (proc(5)). */
function peakOf(pid: number): number {
  try {
    return Number(/VmHWM:\s*(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
