/** A guest that has been booted to bench/driver.sh and runs workloads on request. */
import type { Statistics } from '../src/index.ts';
import type { Settings } from './bench.ts';
import { type Command, ProcessConsole } from './console.ts';
import { ask, difference } from './counters.ts';
import { processorSeconds, residentBesideRam } from './host-use.ts';
import type { CpuProfile } from './profile.ts';

export interface Duration {
  /** Host's time between the marks on the console. */
  seconds: number;
  /** How long the machine's threads ran meanwhile; undefined where the host does not tell. */
  processorSeconds?: number;
}

export interface Run extends Duration {
  output: string;
  /** What the guest's kernel had to say meanwhile, such as that it got no time. */
  kernel: string[];
  /** What the machine counted meanwhile; only our own tell. */
  counters?: Statistics;
  profile?: CpuProfile;
}

const KERNEL_LINE = /^\[ *\d+\.\d{6}\] .*\n/gm;

/** The seconds to compare: see Settings.time. */
export function timeOf({ seconds, processorSeconds }: Duration, time: Settings['time']): number {
  return time === 'processor' ? (processorSeconds ?? seconds) : seconds;
}

export class BenchGuest {
  /** From the start of the process until it took the name of a workload. */
  readonly bootTime: Duration;
  readonly #console: ProcessConsole;
  readonly #limit: number;

  private constructor(console: ProcessConsole, limit: number, bootTime: Duration) {
    this.bootTime = bootTime;
    this.#console = console;
    this.#limit = limit;
  }

  /**
   * @param limit seconds for the boot, and for each run
   * @throws Error when it does not come up.
   */
  static async boot(command: Command, limit: number): Promise<BenchGuest> {
    const console = new ProcessConsole(command);
    try {
      const { match, seconds } = await console.waitFor(/@ready\r?\n|Kernel panic - .*\n/, limit);
      if (!match[0].startsWith('@ready')) throw new Error(`${command.name}: ${match[0].trim()}`);
      return new BenchGuest(console, limit, { seconds, processorSeconds: processorSeconds(console.child.pid!) });
    } catch (error) {
      await console.stop();
      throw error;
    }
  }

  /** @throws Error when it ends with another status than 0, or not in time: the guest is of no use then. */
  async run(name: string, { profile = false } = {}): Promise<Run> {
    const { child } = this.#console;
    const before = child.connected ? await ask(child, 'counters') : undefined;
    if (profile) await ask(child, 'profile');
    this.#console.type(`${name}\n`);
    const start = await this.#console.waitFor(/@start\r?\n/, this.#limit);
    const used = processorSeconds(child.pid!) ?? Number.NaN;
    const end = await this.#console.waitFor(/@end (\d+)\r?\n/, this.#limit);
    const processor = (processorSeconds(child.pid!) ?? Number.NaN) - used;
    const text = end.before.replaceAll('\r\n', '\n');
    const kernel = text.match(KERNEL_LINE) ?? [];
    const output = text.replace(KERNEL_LINE, '');
    if (end.match[1] !== '0')
      throw new Error(`${this.#console.name}: ${name} ended with status ${end.match[1]}: ${output}`);
    const run: Run = { seconds: end.seconds - start.seconds, output, kernel };
    if (processor >= 0) run.processorSeconds = processor;
    if (profile) run.profile = await ask(child, 'end profile');
    if (before) run.counters = difference(await ask(child, 'counters'), before);
    return run;
  }

  /** Stops its process, or lets it go on. */
  pause(stopped: boolean): void {
    this.#console.child.kill(stopped ? 'SIGSTOP' : 'SIGCONT');
  }

  /** Bytes of the host's memory beside the guest's RAM. @param ram bytes */
  residentBesideRam(ram: number): number | undefined {
    return residentBesideRam(this.#console.child.pid!, ram);
  }

  stop(): Promise<void> {
    return this.#console.stop();
  }
}
