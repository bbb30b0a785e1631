/** Hypercalls as the cases of the suite make them, on whichever interface. */
import type { Paravirt } from '../paravirt/operations.ts';
import type { Processor, RegisterName } from '../paravirt/processor.ts';
import * as vectors from '../x86/vectors.ts';
import * as assert from './assert.ts';
import type { Fixture } from './fixture.ts';

/** Bytes of VMCALL and VMMCALL. */
const VMCALL_LENGTH = 3n;

/** From here on a guest may use memory as it likes, up to its kernel. */
export const FREE = 0x2000n;

/** Not in use by any of the interfaces we know, and not likely to be. */
export const UNKNOWN_HYPERCALL = 0x7fedcba1n;

/** VMCALL or VMMCALL as the engine executes it: RIP is past it already; what the hypervisor does not take is #UD. */
export function vmcall({ table, cpu }: { table: Paravirt; cpu: Processor }): void {
  const { hypercall } = table.cpu;
  assert.ok(typeof hypercall === 'function', 'there is an op for hypercalls');
  if (hypercall(cpu)) return;
  cpu.set('rip', cpu.get('rip') - VMCALL_LENGTH);
  cpu.raise({ vector: vectors.UD });
}

/** How this hypervisor is called: by VMCALL, or by SYSCALL where the guest's kernel is not privileged. */
export function callOp(table: Paravirt): ((cpu: Processor) => void) | undefined {
  const { hypercall, syscall } = table.cpu;
  if (typeof hypercall === 'function') return cpu => vmcall({ table, cpu });
  return typeof syscall === 'function' ? syscall : undefined;
}

export const ARGUMENTS: readonly RegisterName[] = ['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'r8', 'r9', 'r10'];

/** Runs a hypercall as the guest half does, or with its number in RAX. @returns the result, as a signed number. */
export function hypercall(fixture: Fixture, number: bigint, values: readonly bigint[] = []): bigint {
  const { table, cpu, guest } = fixture;
  if (guest.hypercall) return guest.hypercall(fixture, number, values);
  const op = callOp(table);
  assert.ok(op);
  cpu.set('rax', number);
  for (const [index, register] of ARGUMENTS.entries()) cpu.set(register, values[index] ?? 0n);
  op(cpu);
  return BigInt.asIntN(64, cpu.get('rax'));
}
