/** A processor for people: registers, and the last exceptions it delivered. */
import type { Engine } from '../engine/engine.ts';
import type { Processor, RegisterName } from '../paravirt/processor.ts';

export function describe(processor: Processor, engine: Engine): string {
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
    `cpl ${processor.cpl}, ${processor.mode}-bit code, ${engine.instructions} instructions${engine.halted ? ', halted' : ''}`,
    'last exceptions:',
    ...engine.recent.map(line => `  ${line}`),
  ].join('\n');
}
