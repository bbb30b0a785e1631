/** What an NVMe controller knows, as data: its queues above all (NVM Express 1.3, 4.1). */
import type { GuestMemory } from '../../memory/memory.ts';
import type { State } from '../../state/state.ts';
import { COMMAND_BYTES, COMPLETION_BYTES, Command } from './commands.ts';

/** Entries of a queue, at most. */
export const MOST_ENTRIES = 1024;
/** Pairs of queues besides the administrator's. */
export const QUEUES = 16;

export interface SubmissionQueue {
  /** Guest-physical; in RAM. */
  base: number;
  /** Entries. */
  size: number;
  head: number;
  /** As the driver has said by its doorbell. */
  tail: number;
  /** The completion queue that its answers go to. */
  completion: number;
}

export interface CompletionQueue {
  base: number;
  size: number;
  /** As the driver has said by its doorbell. */
  head: number;
  tail: number;
  /** Changes with each round through the queue. */
  phase: number;
  interrupts: boolean;
  vector: number;
}

export const initial = () => ({
  configuration: 0,
  status: 0,
  /** AQA, ASQ and ACQ, as words. */
  adminSizes: 0,
  adminQueues: new Uint32Array(4),
  /** Interrupts that do not reach the pin. */
  masked: 0,
  /** Commands that wait for an event: none ever comes. */
  events: 0,
  /** What has been written may be in the host's cache until a flush. */
  cache: true,
  submissions: new Map<number, SubmissionQueue>(),
  completions: new Map<number, CompletionQueue>(),
});

export type NvmeState = State<ReturnType<typeof initial>>;

export function takeCommand(memory: GuestMemory, queue: SubmissionQueue): Command {
  const command = new Command(memory.copyOut(queue.base + COMMAND_BYTES * queue.head, COMMAND_BYTES));
  queue.head = (queue.head + 1) % queue.size;
  return command;
}

export const isFull = ({ head, tail, size }: CompletionQueue): boolean => (tail + 1) % size === head;

export function complete(
  memory: GuestMemory,
  queue: CompletionQueue,
  {
    result,
    head,
    submission,
    id,
    status,
  }: { result: number; head: number; submission: number; id: number; status: number },
): void {
  const at = queue.base + COMPLETION_BYTES * queue.tail;
  memory.write32(at, result);
  memory.write32(at + 4, 0);
  memory.write32(at + 8, head | (submission << 16));
  memory.write32(at + 12, id | (queue.phase << 16) | (status << 17));
  queue.tail = (queue.tail + 1) % queue.size;
  if (queue.tail === 0) queue.phase ^= 1;
}
