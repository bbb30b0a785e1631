/**
 * The words that ops are made of: what an op may be told and what it may answer, each with its TypeScript type. A word
 * means the same wherever it stands. An op is a line of words in operations.ts; its function's type, a binary's export
 * for it (plugins/abi.ts) and the tables of docs/write-a-hypervisor.md are made from that line.
 */
import type { EntryState } from '../boot/entry.ts';
import type { KernelImage } from '../boot/image.ts';
import { native, type Op } from './native.ts';
import type { BootRequest, CpuidResult, HypervisorContext } from './operations.ts';
import type { Exception, Processor } from './processor.ts';

/** What an op may be told. Labelled, so that the functions' parameters have names. */
export interface Told {
  cpu: [cpu: Processor];
  /** CPUID's EAX and ECX (SDM 2A, CPUID). */
  leaf: [leaf: number];
  subleaf: [subleaf: number];
  /** Asks the processor itself. */
  natively: [natively: () => CpuidResult];
  exception: [exception: Exception];
  /** A page fault: an exception with its address. */
  fault: [fault: Exception & { address: bigint }];
  vector: [vector: number];
  /** RIP past the instruction. */
  next: [next: bigint];
  /** What a register is to hold. */
  value: [value: bigint];
  /** Nanoseconds. */
  stolen: [stolen: number];
  image: [image: KernelImage];
  request: [request: BootRequest];
  context: [context: HypervisorContext];
}

/** What an op may answer. */
export interface Answered {
  // biome-ignore lint/suspicious/noConfusingVoidType: a function's result, as FunctionOf has it
  nothing: void;
  boolean: boolean;
  /** Undefined: not ours. */
  cpuid: CpuidResult | undefined;
  /** A reason; undefined: none. */
  refusal: string | undefined;
  entry: EntryState;
}

/** How the calls of an op are noted while a guest runs. */
export type Noted =
  /** Each is counted under the op's name, and a trace shows what the op was told. */
  | 'told'
  /** The same, and as a hypercall: by its number, with the arguments and the answer that are in registers. */
  | 'call'
  /** Each is counted and a trace leaves it out: an idle guest makes it without end. */
  | 'counted'
  /** Not at all: the machine asks at instruction boundaries, whether the guest did anything or not. */
  | 'never';

/** An op's line: what it is told, in order, what it answers, and how its calls are noted. */
export interface Operation<T extends readonly (keyof Told)[], A extends keyof Answered> {
  readonly told: T;
  readonly answer: A;
  readonly noted: Noted;
  /** The answer where a hypervisor's op is the word `nothing`. */
  readonly nothing: Answered[A] | undefined;
}

export type AnyOperation = Operation<readonly (keyof Told)[], keyof Answered>;

/** What `nothing` answers, by the kind of answer; undefined for the kinds that are not here. */
const NOTHING: { readonly [A in keyof Answered]?: Answered[A] } = { boolean: false };

/**
 * Makes an op's line. Without more words it answers nothing, is noted with what it was told, and `nothing` means "no".
 */
export function operation<const T extends readonly (keyof Told)[], A extends keyof Answered = 'nothing'>(
  told: T,
  answer: A = 'nothing' as A,
  more: { noted?: Noted; nothing?: Answered[A] } = {},
): Operation<T, A> {
  return { told, answer, noted: more.noted ?? 'told', nothing: more.nothing ?? NOTHING[answer] };
}

type ParametersOf<T> = T extends readonly [infer First extends keyof Told, ...infer Rest]
  ? [...Told[First], ...ParametersOf<Rest>]
  : [];

/** The function that answers an op. */
export type FunctionOf<O> = O extends Operation<infer T, infer A> ? (...told: ParametersOf<T>) => Answered[A] : never;

/** A group's members: each op native, nothing or a function. */
export type OpsOf<Group> = { [Name in keyof Group]: Op<FunctionOf<Group[Name]>> };

/** An op as one processor asks it: the processor is known already. Undefined: native. */
export type QuestionOf<O> =
  O extends Operation<readonly ['cpu', ...infer Rest extends readonly (keyof Told)[]], infer A>
    ? (...told: ParametersOf<Rest>) => Answered[A]
    : never;

/**
 * The questions of a group's ops. Ops that are not told a processor are asked before there is a guest: they are left
 * out.
 */
export type QuestionsOf<Group> = {
  readonly [Name in keyof Group as QuestionOf<Group[Name]> extends never ? never : Name]?: QuestionOf<Group[Name]>;
};

/** A group as bare hardware answers it. */
export function natively<Group extends object>(group: Group): { [Name in keyof Group]: typeof native } {
  return Object.fromEntries(Object.keys(group).map(name => [name, native])) as { [Name in keyof Group]: typeof native };
}
