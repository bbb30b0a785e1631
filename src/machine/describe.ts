/** The processors for people: registers, and the last exceptions that were delivered. */
import type { Vcpu } from '../engine/vcpu.ts';
import { describeExceptions } from '../engine/x86/exceptions.ts';
import type { Processor, RegisterName } from '../paravirt/processor.ts';

interface Described {
  readonly processor: Processor;
  readonly vcpu: Vcpu;
}

export function describe(processors: readonly Described[]): string {
  if (processors.length === 1) return describeOne(processors[0]!);
  return processors.map(one => `processor ${one.processor.id}:\n${describeOne(one)}`).join('\n\n');
}

function describeOne({ processor, vcpu }: Described): string {
  const hex = (value: bigint) => value.toString(16).padStart(16, '0');
  const row = (...names: RegisterName[]) =>
    names.map(name => `${name.padStart(4)} ${hex(processor.get(name))}`).join('  ');
  return [
    row('rax', 'rbx', 'rcx', 'rdx'),
    row('rsi', 'rdi', 'rbp', 'rsp'),
    row('r8', 'r9', 'r10', 'r11'),
    row('r12', 'r13', 'r14', 'r15'),
    row('rip', 'flags', 'cr0', 'cr2'),
    row('cr3', 'cr4', 'efer'),
    `cpl ${processor.cpl}, ${processor.mode}-bit code, ${vcpu.instructions} instructions${activity(vcpu)}`,
    'last exceptions:',
    ...describeExceptions(vcpu.cpu).map(line => `  ${line}`),
  ].join('\n');
}

/** Why the processor executes nothing, with a comma before it; empty if it does. */
export function activity({ halted, waitsForStart }: Vcpu): string {
  if (waitsForStart) return ', waits to be started';
  return halted ? ', halted' : '';
}
