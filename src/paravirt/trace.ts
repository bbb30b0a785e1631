/**
 * A trace of what crosses the waist: `traced` makes of a hypervisor one that reports every call of an op that is a
 * function, every access to an MSR of the hypervisor's, and CPUID. What a report says of an op comes from the words of
 * the op's line (operations.ts), so a new op is traced without a change here.
 */
import { callersOf } from './callers.ts';
import type { Told } from './operation.ts';
import type { HypervisorModule, Msr, Paravirt } from './operations.ts';
import type { Processor } from './processor.ts';
import { type AnyFunction, replaceMsrs, replaceOperations } from './replace.ts';
import { makeUnder } from './under.ts';

export interface Crossing {
  /** Guest time in nanoseconds. */
  time: number;
  /** Group and op: `cpu.cpuid`, `cpu.msr read`, `irq.exception`. */
  operation: string;
  /** Where the guest was: RIP as the op found it. */
  address: bigint;
  /** Return addresses on a kernel's stack, the innermost first (callers.ts). */
  callers: bigint[];
  /** The register's or the hypercall's name. */
  name?: string;
  arguments: Record<string, number | bigint>;
  result?: number | bigint;
}

/** The registers in which hypercall interfaces pass arguments, for a call whose arguments have no names. */
const REGISTERS = ['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'r8', 'r9', 'r10'] as const;

type Sink = (crossing: Crossing) => void;

export interface TraceOptions {
  /**
   * Only what the hypervisor answers itself, and without callers: what is looked at as it passes should cost little, and change
   * no count of the machine's.
   */
  brief?: boolean;
}

type Arguments = Crossing['arguments'];

/**
 * What a report says of each word that an op is told. Undefined: the word is no argument, or the report has it already.
 */
const DESCRIBED: { readonly [Word in keyof Told]: ((...value: Told[Word]) => Arguments) | undefined } = {
  cpu: undefined,
  leaf: leaf => ({ leaf }),
  subleaf: subleaf => ({ subleaf }),
  natively: undefined,
  exception: ({ vector, code, address }) => ({
    vector,
    ...(code !== undefined && { code }),
    ...(address !== undefined && { address }),
  }),
  fault: ({ address, code = 0 }) => ({ address, code }),
  vector: vector => ({ vector }),
  next: undefined,
  value: value => ({ value }),
  stolen: stolen => ({ stolen }),
  image: undefined,
  request: undefined,
  context: undefined,
};

/** `module` with a report to `sink` of everything that crosses, and of what crosses to the one that it stands on. */
export function traced(module: HypervisorModule, sink: Sink, options: TraceOptions = {}): HypervisorModule {
  const { under } = module;
  return {
    ...module,
    make: (context, base = under && tracedTable(makeUnder(under, context), sink, options)) =>
      tracedTable(module.make(context, base), sink, options),
  };
}

type Where = Pick<Crossing, 'time' | 'address' | 'callers'>;
/** Where the guest is, and when. */
type WhereOf = (cpu: Processor) => Where;

const inBrief: WhereOf = cpu => ({ time: cpu.clock.now(), address: cpu.get('rip'), callers: [] });
const inFull: WhereOf = cpu => ({ ...inBrief(cpu), callers: callersOf(cpu) });

function tracedTable(table: Paravirt, sink: Sink, { brief = false }: TraceOptions): Paravirt {
  const where = brief ? inBrief : inFull;
  const asked = brief ? table : withCpuid(table);
  const withMsrs = replaceMsrs(asked, (index, msr) => tracedMsr(index, msr, sink, where));
  // Each crossing is to be seen.
  return replaceOperations({ ...withMsrs, fastPaths: undefined }, (operation, { told, noted }, op) => {
    if (told[0] !== 'cpu' || noted === 'counted' || noted === 'never') return op;
    const call = noted === 'call';
    return call ? tracedCall(table.cpu, operation, op, sink, where) : tracedOp(operation, told, op, sink, where);
  });
}

/** CPUID as a function in any case: where it is native, the question crosses all the same. */
function withCpuid(table: Paravirt): Paravirt {
  if (typeof table.cpu.cpuid === 'function') return table;
  return { ...table, cpu: { ...table.cpu, cpuid: (_cpu, _leaf, _subleaf, natively) => natively() } };
}

/** An op with a report before it of what it is told. */
function tracedOp(
  operation: string,
  told: readonly (keyof Told)[],
  op: AnyFunction,
  sink: Sink,
  where: WhereOf,
): AnyFunction {
  const words = told.map(word => DESCRIBED[word] as ((value: unknown) => Arguments) | undefined);
  return (...values) => {
    const described = words.map((describe, index) => describe?.(values[index]));
    sink({ ...where(values[0] as Processor), operation, arguments: Object.assign({}, ...described) });
    return op(...values);
  };
}

/** VMCALL or SYSCALL with a report after it: the hypercall's number and name, its arguments by name, and the result. */
function tracedCall(
  { convention, hypercalls }: Paravirt['cpu'],
  operation: string,
  op: AnyFunction,
  sink: Sink,
  where: WhereOf,
): AnyFunction {
  return (...values: readonly unknown[]): unknown => {
    const cpu = values[0] as Processor;
    const number = convention ? convention.number(cpu) : Number(cpu.get('rax'));
    const known = number === undefined ? undefined : hypercalls[number];
    const registers = known && convention ? convention.registers(cpu).slice(0, known.arguments.length) : REGISTERS;
    const args: Arguments = Object.fromEntries([
      ['number', number === undefined ? cpu.get('rax') : BigInt(number)],
      ...registers.map((register, index) => [(convention && known?.arguments[index]) || register, cpu.get(register)]),
    ]);
    const crossing: Crossing = { ...where(cpu), operation, arguments: args };
    if (known) crossing.name = known.name;
    const answer = op(...values);
    // A program's system call has no answer yet. A call that goes elsewhere (IRET) has none at all, nor has one that is
    // #UD.
    const answered = answer !== false && number !== undefined && cpu.get('rip') === crossing.address;
    sink(answered ? { ...crossing, result: cpu.get('rax') } : crossing);
    return answer;
  };
}

function tracedMsr(index: number, msr: Msr, sink: Sink, where: WhereOf): Msr {
  const { name } = msr;
  const copy: Msr = { name };
  if (msr.read)
    copy.read = cpu => {
      const result = msr.read!(cpu);
      sink({ ...where(cpu), operation: 'cpu.msr read', arguments: { index }, name, result });
      return result;
    };
  if (msr.write)
    copy.write = (cpu, value) => {
      sink({ ...where(cpu), operation: 'cpu.msr write', arguments: { index, value }, name });
      return msr.write!(cpu, value);
    };
  return copy;
}
