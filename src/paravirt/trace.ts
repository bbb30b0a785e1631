/**
 * A hypervisor that writes down what crosses the waist. It is the given one with every op that is a function put into another
 * that reports first; CPUID is reported where it is native, too, since the question crosses in any case.
 */
import { callersOf } from './callers.ts';
import type { Op } from './native.ts';
import type { HypervisorModule, Msr, Paravirt } from './operations.ts';
import type { Processor } from './processor.ts';

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

const REGISTERS = ['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'r8', 'r9', 'r10'] as const;

type Sink = (crossing: Crossing) => void;

export function traced(module: HypervisorModule, sink: Sink): HypervisorModule {
  return { ...module, make: (context, base) => tracedTable(module.make(context, base), sink) };
}

const whereAndWhen = (cpu: Processor) => ({
  time: cpu.clock.now(),
  address: cpu.get('rip'),
  callers: callersOf(cpu),
});

function tracedTable(table: Paravirt, sink: Sink): Paravirt {
  const report = (cpu: Processor, operation: string, args: Crossing['arguments'], more: Partial<Crossing> = {}) =>
    sink({ ...whereAndWhen(cpu), operation, arguments: args, ...more });

  /** `op` with a report of its arguments before it, where it is a function. */
  const before = <Rest extends unknown[], Result>(
    operation: string,
    op: Op<(cpu: Processor, ...rest: Rest) => Result>,
    describe: (...rest: Rest) => Crossing['arguments'],
  ): typeof op => {
    if (typeof op !== 'function') return op;
    return (cpu, ...rest) => {
      report(cpu, operation, describe(...rest));
      return op(cpu, ...rest);
    };
  };

  /** VMCALL and SYSCALL: by the hypercall's number, with its arguments by name, and the result. */
  const call = (operation: string, op: Paravirt['cpu']['hypercall']): Paravirt['cpu']['hypercall'] => {
    if (typeof op !== 'function') return op;
    return cpu => {
      const { convention, hypercalls } = table.cpu;
      const number = convention ? convention.number(cpu) : Number(cpu.get('rax'));
      const known = number === undefined ? undefined : hypercalls[number];
      const args: Crossing['arguments'] = { number: number === undefined ? cpu.get('rax') : BigInt(number) };
      // Without a name for them, all that the interfaces pass arguments in.
      const registers = known && convention ? convention.registers(cpu).slice(0, known.arguments.length) : REGISTERS;
      for (const [index, register] of registers.entries())
        args[(convention && known?.arguments[index]) || register] = cpu.get(register);
      const crossing: Crossing = { ...whereAndWhen(cpu), operation, arguments: args };
      if (known) crossing.name = known.name;
      op(cpu);
      // A program's system call has no answer yet, and a call that goes elsewhere (IRET) has none at all.
      const answered = number !== undefined && cpu.get('rip') === crossing.address;
      sink(answered ? { ...crossing, result: cpu.get('rax') } : crossing);
    };
  };

  const tracedMsr = (index: number, msr: Msr): Msr => {
    const { name } = msr;
    const copy: Msr = { name };
    if (msr.read)
      copy.read = cpu => {
        const result = msr.read!(cpu);
        report(cpu, 'cpu.msr read', { index }, { name, result });
        return result;
      };
    if (msr.write)
      copy.write = (cpu, value) => {
        report(cpu, 'cpu.msr write', { index, value }, { name });
        return msr.write!(cpu, value);
      };
    return copy;
  };

  const cpuid = table.cpu.cpuid;
  return {
    ...table,
    cpu: {
      ...table.cpu,
      cpuid(cpu, leaf, subleaf, natively) {
        report(cpu, 'cpu.cpuid', { leaf, subleaf });
        return typeof cpuid === 'function' ? cpuid(cpu, leaf, subleaf, natively) : natively();
      },
      msrs: Object.fromEntries(
        Object.entries(table.cpu.msrs).map(([index, msr]) => [index, tracedMsr(Number(index), msr)]),
      ),
      hypercall: call('cpu.hypercall', table.cpu.hypercall),
      syscall: call('cpu.syscall', table.cpu.syscall),
    },
    mmu: {
      ...table.mmu,
      pageFault: before('mmu.pageFault', table.mmu.pageFault, ({ address, code = 0 }) => ({ address, code })),
      setRoot: before('mmu.setRoot', table.mmu.setRoot, value => ({ value })),
    },
    irq: {
      ...table.irq,
      exception: before('irq.exception', table.irq.exception, ({ vector, code, address }) => ({
        vector,
        ...(code !== undefined && { code }),
        ...(address !== undefined && { address }),
      })),
      softwareInterrupt: before('irq.softwareInterrupt', table.irq.softwareInterrupt, vector => ({ vector })),
      delivered: before('irq.delivered', table.irq.delivered, vector => ({ vector })),
    },
    time: { ...table.time, resumed: before('time.resumed', table.time.resumed, stolen => ({ stolen })) },
  };
}
