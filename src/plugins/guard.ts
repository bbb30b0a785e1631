/**
 * What stands between the machine and a hypervisor from a file: whatever such a hypervisor throws, answers or leaves
 * out, its guest ends with a line that names file, op and reason, and the machine stays whole.
 */
import { mistakeIn } from '../paravirt/check-table.ts';
import type { FastPaths } from '../paravirt/fast-paths.ts';
import type { CpuidResult, HypercallConvention, HypervisorModule, Msr, Paravirt } from '../paravirt/operations.ts';
import { REGISTERS, type RegisterName } from '../paravirt/processor.ts';
import { replaceMsrs, replaceOperations } from '../paravirt/replace.ts';
import { checkBeforeStart } from './check-entry.ts';

/** What is wrong with a hypervisor's file before anything has run. */
export class PluginError extends Error {
  override name = 'PluginError';

  constructor(file: string, why: string) {
    super(`${file}: ${why}`);
  }
}

/** Hears which op is being answered, so that one that never returns can be named: see cli/watch.ts. */
export interface Watch {
  enter(operation: string): void;
  leave(): void;
  /** Hears why a guest is ended. */
  fault?(reason: string): void;
}

const unwatched: Watch = { enter() {}, leave() {} };

/** What is done before any op: not worth naming in an error, but in the one of a file that never gets further. */
export const LOADING = 'loading';

/** Longest text of a plug-in that we repeat, in characters. */
const TEXT = 200;

export class Guard {
  readonly file: string;
  readonly #watch: Watch;

  constructor(file: string, watch: Watch = unwatched) {
    this.file = file;
    this.#watch = watch;
  }

  /** Answers `operation` with `work`; if that throws, ends the guest and answers `fallback`. */
  call<T>(kill: (reason: string) => void, operation: string, fallback: () => T, work: () => T): T {
    this.#watch.enter(operation);
    try {
      return work();
    } catch (error) {
      const reason = `${this.file}: ${operation}: ${reasonOf(error)}`;
      this.#watch.fault?.(reason);
      kill(reason);
      return fallback();
    } finally {
      this.#watch.leave();
    }
  }

  /** As `call`, before there is a guest. @throws PluginError */
  load<T>(step: string, work: () => T): T {
    this.#watch.enter(step);
    try {
      return work();
    } catch (error) {
      if (isA(error, PluginError)) throw error;
      throw new PluginError(this.file, step === LOADING ? reasonOf(error) : `${step}: ${reasonOf(error)}`);
    } finally {
      this.#watch.leave();
    }
  }
}

/** Why, in a line. What was thrown may be anything: an object without a prototype, a proxy or a toString that throws in turn. */
export function reasonOf(error: unknown): string {
  try {
    if (error instanceof RangeError && /call stack/i.test(error.message)) return 'calls itself without end';
    const text = error instanceof Error ? String(error.message || error.name) : `threw ${String(error)}`;
    return shortened(text);
  } catch {
    return 'threw something that cannot be shown';
  }
}

/** `error instanceof kind`, also for proxies that do not let themselves be asked. */
export function isA<T>(error: unknown, kind: abstract new (...values: never[]) => T): error is T {
  try {
    return error instanceof kind;
  } catch {
    return false;
  }
}

/** `text` in one line of a reasonable length. */
export function shortened(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  const line = text.replace(/[\x00-\x1f\x7f]+/g, ' ').trim();
  return line.length > TEXT ? `${line.slice(0, TEXT)}…` : line;
}

/** `module` with everything it answers under guard. @throws PluginError from `make`, for a table that is not a hypervisor's */
export function guarded(module: HypervisorModule, guard: Guard): HypervisorModule {
  return {
    name: module.name,
    title: module.title,
    make(context, base) {
      const kill = (reason: string) => context.kill(reason);
      const table = guard.load('make', () => {
        const made = module.make(context, base);
        const mistake = mistakeIn(made);
        if (mistake) throw new Error(mistake);
        return made;
      });
      return guardTable(table, guard, kill);
    },
  };
}

type Kill = (reason: string) => void;

const nothing = () => undefined;

/** What an op that failed answers: as if it had not been there. */
const FALLBACK: Readonly<Record<string, (told: readonly unknown[]) => unknown>> = {
  nothing: () => undefined,
  boolean: () => false,
  cpuid: () => undefined,
};

/** What an answer must be: an error says otherwise. */
const CHECK: Readonly<Record<string, (answer: unknown) => unknown>> = {
  nothing: () => undefined,
  boolean: answer => {
    if (typeof answer !== 'boolean') throw new Error(`answered ${shortened(String(answer))}, neither true nor false`);
    return answer;
  },
  cpuid: answer => (answer === undefined ? undefined : checkedCpuid(answer)),
};

function guardTable(table: Paravirt, guard: Guard, kill: Kill): Paravirt {
  const withOps = replaceOperations(table, (title, { answer, nothing: unanswered }, op) => {
    const known = CHECK[answer];
    // Of an op that may be no more than done, nothing is an answer, too (as in version 1.0 of the interface).
    const check = known && ((found: unknown) => known(found === undefined && unanswered === true ? true : found));
    // Answers without a check are given before the guest starts: an error in such an op ends the start.
    if (!check) return (...told) => guard.load(title, () => checkBeforeStart(answer, op(...told)));
    return (...told) =>
      guard.call(
        kill,
        title,
        () => FALLBACK[answer](told),
        () => check(op(...told)),
      );
  });
  const guarded = replaceMsrs(
    {
      ...withOps,
      fastPaths: guardPaths(table.fastPaths, guard),
      restoring: () => guard.call(kill, 'restoring', nothing, () => table.restoring?.()),
      restored: () => guard.call(kill, 'restored', nothing, () => table.restored?.()),
      requestShutdown: () =>
        guard.call(
          kill,
          'requestShutdown',
          () => false,
          () => table.requestShutdown?.() === true,
        ),
      requestMemory: bytes =>
        guard.call(
          kill,
          'requestMemory',
          () => false,
          () => table.requestMemory?.(bytes) === true,
        ),
    },
    (_index, msr) => guardMsr(msr, guard, kill),
  );
  const { convention } = guarded.cpu;
  if (!convention) return guarded;
  return { ...guarded, cpu: { ...guarded.cpu, convention: guardConvention(convention, guard, kill) } };
}

/** What writes fast paths is asked before the guest starts. */
function guardPaths(paths: FastPaths | undefined, guard: Guard): FastPaths | undefined {
  if (!paths) return undefined;
  const { syscall, exception } = paths;
  return {
    ...(syscall && { syscall: (path, next) => guard.load('fastPaths.syscall', () => syscall(path, next)) }),
    ...(exception && { exception: (path, given) => guard.load('fastPaths.exception', () => exception(path, given)) }),
  };
}

function guardMsr(msr: Msr, guard: Guard, kill: Kill): Msr {
  const { name, read, write } = msr;
  const result: Msr = { name };
  if (read)
    result.read = cpu =>
      guard.call(
        kill,
        `read of ${name}`,
        () => 0n,
        () => {
          const value: unknown = read.call(msr, cpu);
          if (typeof value !== 'bigint' || value !== BigInt.asUintN(64, value))
            throw new Error(`answered ${shortened(String(value))}, which is no unsigned 64-bit number`);
          return value;
        },
      );
  if (write)
    result.write = (cpu, value) =>
      guard.call(
        kill,
        `write of ${name}`,
        () => false,
        () => CHECK.boolean(write.call(msr, cpu, value)) as boolean,
      );
  return result;
}

/** How hypercalls are counted and traced is asked in the midst of the machine's work, too. */
function guardConvention(convention: HypercallConvention, guard: Guard, kill: Kill): HypercallConvention {
  const title = 'cpu.convention';
  return {
    number: cpu =>
      guard.call(
        kill,
        title,
        () => undefined,
        () => checkedNumber(convention.number(cpu)),
      ),
    registers: cpu =>
      guard.call(
        kill,
        title,
        () => [],
        () => checkedRegisters(convention.registers(cpu)),
      ),
  };
}

function checkedCpuid(answer: unknown): CpuidResult {
  const { eax, ebx, ecx, edx } = answer as CpuidResult;
  for (const [register, value] of Object.entries({ eax, ebx, ecx, edx }))
    if (typeof value !== 'number' || value >>> 0 !== value)
      throw new Error(`answered ${register} = ${shortened(String(value))}, which is no unsigned 32-bit number`);
  return { eax, ebx, ecx, edx };
}

function checkedNumber(answer: unknown): number | undefined {
  if (answer === undefined || typeof answer === 'number') return answer;
  throw new Error(`answered ${shortened(String(answer))}, which is no hypercall's number`);
}

function checkedRegisters(answer: unknown): readonly RegisterName[] {
  if (Array.isArray(answer) && answer.every(name => REGISTERS.includes(name))) return answer as RegisterName[];
  throw new Error('answered what is no list of registers');
}
