/**
 * The binary interface of hypervisors that are WebAssembly files: its version, and how an op of the waist becomes an
 * export. There is no second list of ops: the words in which paravirt/operations.ts describes one (told, answered) each
 * have their form on the wire here, and an op all of whose words have one can be answered by a binary.
 * docs/write-a-hypervisor.md shows the result.
 */
import { ownMember } from '../own-member.ts';
import type { Answered, AnyOperation, Told } from '../paravirt/operation.ts';
import type { CpuidResult } from '../paravirt/operations.ts';
import { operations } from '../paravirt/operations.ts';

/**
 * A binary of another major version is refused. A minor version adds imports and ops: a binary that was made for an
 * earlier one of the same major version runs.
 */
export const ABI_VERSION = { major: 1, minor: 3 } as const;
/** Ops that version 1.0 had under another name, and their name now. */
const RENAMED: Readonly<Record<string, string>> = { 'irq.settle': 'irq.catchUp' };
/** Ops of version 1.0 that the machine does not ask any more: a binary may say that they are native, and no more. */
export const ENDED_OPERATIONS: ReadonlySet<string> = new Set(['mmu.setRoot']);
/** Ops whose exports had no result in version 1.0. That they have returned means what 1 means now. */
const SILENT: ReadonlySet<string> = new Set(['cpu.hypercall']);

/** The module all imports come from. It carries the major version, so that a mismatch is known before anything runs. */
export const IMPORT_MODULE = `polyvisor_${ABI_VERSION.major}`;

export type Wire = 'i32' | 'i64';
type Value = number | bigint;

/** One call into the binary: what imports may ask of it and answer to it. */
export interface Frame {
  natively?: () => CpuidResult;
  cpuid?: CpuidResult;
}

interface ToldForm<T extends readonly unknown[]> {
  parameters: readonly (readonly [name: string, type: Wire])[];
  pass(frame: Frame, ...value: T): Value[];
}

/** "No error code", where an exception has none. */
export const NO_CODE = -1;

const exceptionForm: ToldForm<Told['exception']> = {
  parameters: [
    ['vector', 'i32'],
    ['code', 'i32'],
    ['address', 'i64'],
  ],
  pass: (_frame, { vector, code = NO_CODE, address = 0n }) => [vector, code, address],
};

const number = (name: string): ToldForm<[number]> => ({
  parameters: [[name, 'i32']],
  pass: (_frame, value) => [value],
});
const long = (name: string): ToldForm<[bigint]> => ({ parameters: [[name, 'i64']], pass: (_frame, value) => [value] });

/** How each word of what an op is told crosses; undefined: it does not. */
const TOLD: { readonly [Word in keyof Told]: ToldForm<Told[Word]> | undefined } = {
  cpu: { parameters: [['cpu', 'i32']], pass: (_frame, cpu) => [cpu.id] },
  leaf: number('leaf'),
  subleaf: number('subleaf'),
  // Asked for with the import cpuid_natively.
  natively: {
    parameters: [],
    pass(frame, natively) {
      frame.natively = natively;
      return [];
    },
  },
  exception: exceptionForm,
  fault: exceptionForm,
  vector: number('vector'),
  next: long('next'),
  value: long('value'),
  stolen: { parameters: [['nanoseconds', 'i64']], pass: (_frame, stolen) => [BigInt(Math.floor(stolen))] },
  // A binary gets its guest placed as bare hardware would.
  image: undefined,
  request: undefined,
  context: undefined,
};

interface AnswerForm<T> {
  result: Wire | undefined;
  take(frame: Frame, result: unknown): T;
}

const ANSWERED: { readonly [Word in keyof Answered]: AnswerForm<Answered[Word]> | undefined } = {
  nothing: { result: undefined, take: () => undefined },
  // Undefined: an export of version 1.0 that had no result yet.
  boolean: { result: 'i32', take: (_frame, result) => result === undefined || result !== 0 },
  // Given with the import answer_cpuid; the result says whether it was.
  cpuid: {
    result: 'i32',
    take(frame, result) {
      if (result === 0) return undefined;
      if (!frame.cpuid) throw new Error('answered 1 without having called answer_cpuid');
      return frame.cpuid;
    },
  },
  refusal: undefined,
  entry: undefined,
};

/** An op as a binary exports it. */
export interface OperationExport {
  /** As in the waist: `cpu.hypercall`. */
  operation: string;
  group: keyof typeof operations;
  member: string;
  /** The export's name: `cpu_hypercall`. */
  name: string;
  parameters: readonly (readonly [name: string, type: Wire])[];
  result: Wire | undefined;
  /** The export may have no result, as in version 1.0. */
  maybeSilent: boolean;
  /** Makes of what the op is told what the export is told. */
  pass(frame: Frame, told: readonly unknown[]): Value[];
  take(frame: Frame, result: unknown): unknown;
}

/** Every op that a binary may answer, by its name in the waist. */
export const operationExports: ReadonlyMap<string, OperationExport> = new Map(
  Object.entries(operations).flatMap(([group, members]) =>
    Object.entries(members as Record<string, AnyOperation>).flatMap(([member, line]) => {
      const entry = exportOf(group as keyof typeof operations, member, line);
      return entry ? [[entry.operation, entry] as const] : [];
    }),
  ),
);

/** The export for an op by a manifest's name for it, which may be the one of version 1.0. */
export function findExport(operation: string): OperationExport | undefined {
  const renamed = operationExports.get(ownMember(RENAMED, operation) ?? '');
  return renamed ? { ...renamed, operation, name: operation.replace('.', '_') } : operationExports.get(operation);
}

/** Every export that answers an op, under its name now and under that of version 1.0. */
export function everyExport(): OperationExport[] {
  return [...operationExports.keys(), ...Object.keys(RENAMED)].map(operation => findExport(operation)!);
}

function exportOf(group: keyof typeof operations, member: string, line: AnyOperation): OperationExport | undefined {
  const told = line.told.map(word => TOLD[word] as ToldForm<readonly unknown[]> | undefined);
  const answer = ANSWERED[line.answer];
  if (!answer || told.some(form => form === undefined)) return undefined;
  return {
    operation: `${group}.${member}`,
    group,
    member,
    name: `${group}_${member}`,
    parameters: told.flatMap(form => form!.parameters),
    result: answer.result,
    maybeSilent: SILENT.has(`${group}.${member}`),
    pass: (frame, values) => told.flatMap((form, index) => form!.pass(frame, values[index])),
    take: answer.take,
  };
}

/**
 * The other exports: [parameters, result, what it is]. Those of registers and devices are needed only where there are
 * any.
 */
export interface OtherExport {
  parameters: readonly (readonly [name: string, type: Wire])[];
  result: Wire | undefined;
  does: string;
}

export const otherExports: Readonly<Record<string, OtherExport>> = {
  polyvisor_manifest: {
    parameters: [],
    result: 'i32',
    does: 'Where the manifest stands in `memory`, ended by a zero.',
  },
  start: {
    parameters: [],
    result: undefined,
    does: 'Called once a machine, before it has a guest: not yet a processor.',
  },
  cpu_msr_read: {
    parameters: [
      ['cpu', 'i32'],
      ['index', 'i32'],
    ],
    result: 'i64',
    does: 'RDMSR of a register of the manifest.',
  },
  cpu_msr_write: {
    parameters: [
      ['cpu', 'i32'],
      ['index', 'i32'],
      ['value', 'i64'],
    ],
    result: 'i32',
    does: 'WRMSR of a register of the manifest; 0 is #GP.',
  },
  alarm: { parameters: [['token', 'i32']], result: undefined, does: 'The time of an alarm (`set_alarm`) has come.' },
  device_read: {
    parameters: [
      ['token', 'i32'],
      ['offset', 'i32'],
      ['width', 'i32'],
    ],
    result: 'i64',
    does: 'A read of 1, 2 or 4 bytes from a claimed range (`claim_ports`, `claim_mmio`).',
  },
  device_write: {
    parameters: [
      ['token', 'i32'],
      ['offset', 'i32'],
      ['width', 'i32'],
      ['value', 'i64'],
    ],
    result: undefined,
    does: 'A write to a claimed range.',
  },
};
