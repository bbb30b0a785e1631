/** What the files with Hyper-V's hypercalls share: how a call is answered, and the statuses (TLFS chapter 4, appendix B). */
import type { GuestMemory } from '../../memory/memory.ts';
import type { Hypercall } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';

export const HV_STATUS_SUCCESS = 0x0000;
export const HV_STATUS_INVALID_HYPERCALL_CODE = 0x0002;
export const HV_STATUS_INVALID_HYPERCALL_INPUT = 0x0003;
export const HV_STATUS_INVALID_ALIGNMENT = 0x0004;
export const HV_STATUS_INVALID_PARAMETER = 0x0005;
export const HV_STATUS_INVALID_CONNECTION_ID = 0x0012;
export const HV_STATUS_INSUFFICIENT_BUFFERS = 0x0013;

/** A call as it has been made. */
export interface Input {
  readonly cpu: Processor;
  readonly fast: boolean;
  /** Where the input stands, guest-physical; of a fast call, its first and second eight bytes. */
  readonly first: bigint;
  readonly second: bigint;
  /** The variable part of its header, in units of 8 bytes: 0 to 1023. */
  readonly headerSize: number;
  /** Which of its elements are to be done: from `start` on, of `count`. */
  readonly start: number;
  readonly count: number;
}

export interface Call extends Hypercall {
  /** It is done for each element of a list. */
  repeats?: true;
  /** Its header has a part of variable size. */
  varies?: true;
  /** @returns a status; with HV_STATUS_SUCCESS all elements are done */
  run(input: Input): number;
}

/** By code. */
export type Calls = Readonly<Record<number, Call>>;

/**
 * Where the input of a call that is not fast stands (TLFS 4.3): it lies in one page, aligned.
 * @param size in bytes
 * @returns its address; undefined with the status of the refusal
 */
export function inputAt(
  memory: GuestMemory,
  { first, fast }: Input,
  size: number,
): [number, number] | [undefined, number] {
  if (fast) return [undefined, HV_STATUS_INVALID_HYPERCALL_INPUT];
  const address = Number(first);
  if (address % 8 !== 0) return [undefined, HV_STATUS_INVALID_ALIGNMENT];
  if (!memory.has(address, size)) return [undefined, HV_STATUS_INVALID_PARAMETER];
  if ((address % PAGE_SIZE) + size > PAGE_SIZE) return [undefined, HV_STATUS_INVALID_ALIGNMENT];
  return [address, HV_STATUS_SUCCESS];
}
