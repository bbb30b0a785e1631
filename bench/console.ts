/** The console of a machine that runs in a process of its own, and the host's time at which things appear on it. */
import { type ChildProcess, spawn } from 'node:child_process';

export interface Command {
  /** Who it is, for messages. */
  name: string;
  command: string;
  args: readonly string[];
  /** It keeps the host busy while its guest is idle: it is stopped while others are measured. */
  restless?: boolean;
  /** The process is one of ours that answers questions (counters.ts). */
  answers?: boolean;
}

export interface Sighting {
  /** Seconds from the process's start until the text was there. */
  seconds: number;
  /** What had come before it, and had not been waited for. */
  before: string;
  match: RegExpExecArray;
}

interface Waiter {
  pattern: RegExp;
  resolve(sighting: Sighting): void;
  reject(error: Error): void;
}

/** How much of the console an error shows, in characters. */
const TAIL = 2000;

export class ProcessConsole {
  readonly name: string;
  readonly child: ChildProcess;
  readonly #start = performance.now();
  /** What has come and has not been waited for. */
  #unseen = '';
  #tail = '';
  #waiter: Waiter | undefined;
  #ended: string | undefined;

  constructor({ name, command, args, answers }: Command) {
    this.name = name;
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe', ...(answers ? ['ipc' as const] : [])] });
    this.child.stdout?.on('data', (data: Buffer) => this.#take(data));
    this.child.stderr?.on('data', (data: Buffer) => void (this.#tail += data.toString('latin1')));
    this.child.stdin?.on('error', () => {}); // It has ended, which is told below.
    this.child.on('error', error => this.#end(error.message));
    this.child.on('close', (status, signal) => this.#end(`ended with ${signal ?? `status ${status}`}`));
  }

  /**
   * Waits for text that matches; only one may wait. What came before it counts as seen then.
   * @param limit seconds
   * @throws Error with the console's end when it does not come in time, or the process ends.
   */
  waitFor(pattern: RegExp, limit: number): Promise<Sighting> {
    return new Promise<Sighting>((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(`no ${pattern} in ${limit} s`), limit * 1000);
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#waiter = undefined;
        act();
      };
      this.#waiter = {
        pattern,
        resolve: sighting => settle(() => resolve(sighting)),
        reject: error => settle(() => reject(error)),
      };
      this.#look();
      if (this.#ended) this.#fail(this.#ended);
    });
  }

  type(text: string): void {
    this.child.stdin?.write(text);
  }

  /** Ends the process at once. */
  async stop(): Promise<void> {
    if (this.#ended) return;
    const gone = new Promise(resolve => this.child.once('close', resolve));
    this.child.kill('SIGKILL');
    await gone;
  }

  #take(data: Buffer): void {
    const text = data.toString('latin1');
    this.#unseen += text;
    this.#tail = (this.#tail + text).slice(-2 * TAIL);
    this.#look();
  }

  #look(): void {
    const match = this.#waiter?.pattern.exec(this.#unseen);
    if (!match) return;
    const before = this.#unseen.slice(0, match.index);
    this.#unseen = this.#unseen.slice(match.index + match[0].length);
    this.#waiter?.resolve({ seconds: (performance.now() - this.#start) / 1000, before, match });
  }

  #end(why: string): void {
    this.#ended ??= why;
    this.#fail(why);
  }

  #fail(why: string): void {
    this.#waiter?.reject(new Error(`${this.name}: ${why}; its console ended with\n${this.#tail.slice(-TAIL)}`));
  }
}
