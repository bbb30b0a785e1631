/**
 * The hypercall table's entries, and `Call`: the arguments of one call, and copies to and from the guest's pointers.
 */
import type { Hypercall, HypercallConvention } from '../../paravirt/operations.ts';
import type { RegisterName } from '../../paravirt/processor.ts';
import { type CallFrame, type Outcome, UNFINISHED } from './call-frame.ts';
import { EFAULT, ENOSYS } from './constants.ts';
import type { Domain, Vcpu } from './domain.ts';
import type { Fields, Structure, Values } from './structures.ts';

/** An entry of the hypercall table: what the documentation says of it, and what it does. */
export type HypercallEntry = Hypercall &
  (
    | {
        /** @returns what the guest finds in RAX: a value, or a negated error. */
        run(call: Call): number;
        fast?: undefined;
      }
    | {
        /** For calls that are made all the time: does without a `Call` and takes its arguments from the frame. */
        fast(vcpu: Vcpu, frame: CallFrame): Outcome;
        run?: undefined;
      }
  );

export type HypercallTable = Readonly<Record<number, HypercallEntry>>;

/** A sub-operation of a hypercall that has several. It gets the pointer to its structure. */
export type Operation = (call: Call, argument: bigint) => number;

/** Sub-operations by the number that a hypercall's `cmd` names. */
export type Operations = Readonly<Record<number, Operation>>;

/**
 * Does sub-operation `command` of the hypercall `name`, whose structure is at `structure`. Unknown ones: -ENOSYS, logged
 * once.
 */
export function operate(
  name: string,
  operations: Operations,
  call: Call,
  command = call.uint(0),
  structure = call.argument(1),
): number {
  const operation = operations[command];
  if (operation) return operation(call, structure);
  logUnknown(call.domain, `${name} ${command}`);
  return -ENOSYS;
}

/** Operations we lack that are worth a line in the log. */
const MAX_UNKNOWN = 64;

/** Where a hypercall's arguments stand, by the caller's width. */
export const argumentRegisters: Record<32 | 64, readonly RegisterName[]> = {
  32: ['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp'],
  64: ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'],
};

export const convention: HypercallConvention = {
  number: cpu => Number(BigInt.asUintN(32, cpu.get('rax'))),
  registers: cpu => argumentRegisters[cpu.mode === 64 ? 64 : 32],
};

/** Does the call that stands in `frame`. */
export function perform(table: HypercallTable, vcpu: Vcpu, frame: CallFrame): Outcome {
  const entry = table[frame.number];
  if (entry?.fast) return entry.fast(vcpu, frame);
  if (entry) {
    const call = new Call(vcpu, frame);
    const result = entry.run(call);
    return call.unfinished ? UNFINISHED : frame.finish(result);
  }
  logUnknown(vcpu.domain, `hypercall ${frame.number}`);
  return frame.finish(-ENOSYS);
}

export class Call {
  readonly vcpu: Vcpu;
  /** Width of the caller's pointers and longs. */
  readonly width: 32 | 64;
  /** The call goes on later: see `continueWith`. */
  unfinished = false;
  readonly #frame: CallFrame;

  constructor(vcpu: Vcpu, frame: CallFrame) {
    this.vcpu = vcpu;
    this.width = vcpu.domain.kind.width(vcpu);
    this.#frame = frame;
  }

  /**
   * Not finished: lets the machine breathe (interrupts, a stop) and has the guest repeat the hypercall with `args` in
   * place of the first arguments, as Xen's hypercall continuations do. What a guest may make long without limit ends in
   * this.
   */
  continueWith(...args: bigint[]): number {
    for (const [index, value] of args.entries()) this.#frame.longs[index] = BigInt.asUintN(this.width, value);
    this.unfinished = true;
    return 0;
  }

  get domain(): Domain {
    return this.vcpu.domain;
  }

  argument(index: number): bigint {
    return this.#frame.longs[index];
  }

  /** Argument `index` as the C type `unsigned int`. */
  uint(index: number): number {
    return this.#frame.words[2 * index];
  }

  /** Argument `index` as the C type `int`. */
  int(index: number): number {
    return this.#frame.words[2 * index] | 0;
  }

  read(address: bigint, length: number): Uint8Array | undefined {
    return this.vcpu.domain.kind.read(this.vcpu, address, length);
  }

  write(address: bigint, data: Uint8Array): boolean {
    return this.vcpu.domain.kind.write(this.vcpu, address, data);
  }

  /** Copies a structure in; undefined for -EFAULT. */
  load<F extends Fields>(address: bigint, type: Structure<F>): Values<F> | undefined {
    const layout = type[this.width];
    const bytes = this.read(address, layout.size);
    return bytes && layout.decode(bytes);
  }

  /** Stores some fields of the structure at `address`. @returns 0 or -EFAULT. */
  store<F extends Fields>(address: bigint, type: Structure<F>, values: Partial<Values<F>>): number {
    const layout = type[this.width];
    const bytes = this.read(address, layout.size);
    if (!bytes) return -EFAULT;
    layout.encode(bytes, values);
    return this.write(address, bytes) ? 0 : -EFAULT;
  }
}

/** Notes, once, that the guest asked for something we do not have. */
export function logUnknown(domain: Domain, what: string): void {
  // A guest that tries all numbers is not worth a line for each.
  if (domain.state.unknown.size >= MAX_UNKNOWN) return;
  domain.state.unknown.add(what);
  domain.context.log.once(`xen-${what}`, `xen: ${what} is not implemented: -ENOSYS`);
}
