/** What `polyvisor run` was asked to do: the options as typed, and as checked values. */
import type { HypervisorModule } from '../index.ts';
import { Failure } from './failure.ts';
import { type DiskOption, oneOf, parseDisk, parseHypervisor, parseMemory, parseSeconds } from './values.ts';

/** As commander hands them over: texts. */
export interface RunOptions {
  hypervisor: string;
  kernel?: string;
  initrd?: string;
  append?: string;
  memory: string;
  disk?: string[];
  clock: string;
  engine?: string;
  exec?: string;
  timeout?: string;
  trace?: string;
  json?: string;
  verbose?: boolean;
}

export const ENGINES = ['jit', 'interpreter', 'both'] as const;
export const CLOCKS = ['host', 'virtual'] as const;

export interface Settings {
  hypervisor: HypervisorModule;
  kernel: string | undefined;
  initrd: string | undefined;
  append: string | undefined;
  /** Bytes. */
  memory: number;
  disks: DiskOption[];
  clock: (typeof CLOCKS)[number];
  engine: (typeof ENGINES)[number] | undefined;
  exec: string | undefined;
  /** Seconds. */
  timeout: number | undefined;
  trace: string | undefined;
  json: string | undefined;
  verbose: boolean;
}

/** @throws Failure for what cannot be meant. */
export function parseSettings(options: RunOptions): Settings {
  if (options.exec !== undefined && options.exec.trim() === '') throw new Failure('--exec: the command is empty');
  return {
    hypervisor: parseHypervisor(options.hypervisor),
    kernel: options.kernel,
    initrd: options.initrd,
    append: options.append,
    memory: parseMemory(options.memory),
    disks: (options.disk ?? []).map(parseDisk),
    clock: oneOf('--clock', CLOCKS)(options.clock),
    engine: options.engine === undefined ? undefined : oneOf('--engine', ENGINES)(options.engine),
    exec: options.exec,
    timeout: options.timeout === undefined ? undefined : parseSeconds(options.timeout),
    trace: options.trace,
    json: options.json,
    verbose: options.verbose ?? false,
  };
}
