/**
 * What a machine in another thread and its user tell each other: what every such machine needs, and a place for what some need beside it.
 * Both ends are ours; what is in between (`RemotePort`) must copy plain data, as `structuredClone` does.
 */
import type { Exit } from '../exits.ts';
import type { MachineRequest, RunLimits } from '../machine/options.ts';

/** What two ends agree on. */
export interface Protocol {
  /** What a machine is made of. */
  options: unknown;
  /** How it stands. */
  report: unknown;
  /** An error as it is sent. */
  error: unknown;
  /** What it can be asked, by name: what goes with the question, and what comes back. */
  questions: Record<string, { given: unknown; answer: unknown }>;
  /** What else it is told. */
  commands: { kind: string };
  /** What else it tells. */
  news: { kind: string };
}

export type ToMachine<P extends Protocol> =
  /** The first message. */
  | { kind: 'make'; options: P['options'] }
  | { kind: 'run'; limits: RunLimits }
  | { kind: 'stop' }
  | { kind: 'request'; what: MachineRequest }
  | { kind: 'type'; data: Uint8Array }
  /** Answered by `answer` or `refused` with the same number. */
  | { kind: 'ask'; number: number; question: keyof P['questions']; given: unknown }
  | P['commands'];

export type FromMachine<P extends Protocol> =
  | { kind: 'ready'; report: P['report'] }
  /** It could not be made, or a run ended by a mistake of ours. */
  | { kind: 'failed'; error: P['error'] }
  | { kind: 'console'; data: Uint8Array }
  | { kind: 'log'; line: string }
  /** Now and then while it runs. */
  | { kind: 'report'; report: P['report'] }
  | { kind: 'exit'; exit: Exit; report: P['report'] }
  | { kind: 'answer'; number: number; answer: unknown }
  | { kind: 'refused'; number: number; error: P['error'] }
  | P['news'];
