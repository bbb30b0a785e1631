/** The guest's calls that come through the ROM: the table of them, and one call with its arguments. */
import type { Hypercall } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { type CallName, numberOf, type PrivateCallName } from './calls.ts';

/** What becomes of a call: EAX, EDX:EAX, or nothing that the guest looks at. */
export type Result = number | bigint | undefined;

/** An entry of the table: what the documentation says of it, and what it does. */
export interface VmiCallEntry extends Hypercall {
  run(call: Call): Result;
}
export type VmiCallTable = Readonly<Record<number, VmiCallEntry>>;

/** All calls that the hypervisor answers. The groups bring them while the hypervisor is made. */
export class Calls {
  readonly #entries: Record<number, VmiCallEntry> = {};

  /** Adds to the calls that are answered. @returns the same by number */
  serve(calls: Partial<Record<CallName | PrivateCallName, VmiCallEntry>>): VmiCallTable {
    const table: VmiCallTable = Object.fromEntries(
      Object.entries(calls).map(([name, entry]) => [numberOf(name as CallName), entry]),
    );
    Object.assign(this.#entries, table);
    return table;
  }

  find(number: number): VmiCallEntry | undefined {
    return this.#entries[number];
  }
}

/** Where the first three arguments are at VMCALL; in EAX is the call's number. */
export const ARGUMENT_REGISTERS = ['rbx', 'rdx', 'rcx'] as const;
/** On the stack: EBX, the return address, then further arguments. */
const STACK_ARGUMENTS = 8;

export class Call {
  readonly cpu: Processor;
  readonly name: string;

  constructor(cpu: Processor, name: string) {
    this.cpu = cpu;
    this.name = name;
  }

  /** As the caller had it. */
  get eax(): number {
    return this.#register('rbx');
  }
  get edx(): number {
    return this.#register('rdx');
  }
  get ecx(): number {
    return this.#register('rcx');
  }
  /** Further arguments, 32 bits each. */
  stack(index: number): number {
    const esp = Number(this.cpu.get('rsp') & 0xffffffffn);
    const at = (esp + STACK_ARGUMENTS + 4 * index) >>> 0;
    const bytes = this.cpu.read(BigInt(at), 4);
    if (bytes) return new DataView(bytes.buffer).getUint32(0, true);
    this.kill(`an argument at ${hex(at)}, which cannot be read`);
    return 0;
  }

  /** Ends the guest. */
  kill(reason: string): undefined {
    this.cpu.kill(`VMI call ${this.name}: ${reason}`);
    return undefined;
  }

  #register(name: (typeof ARGUMENT_REGISTERS)[number]): number {
    return Number(this.cpu.get(name) & 0xffffffffn);
  }
}

export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
