/** The commands of an NVMe controller's administrator (NVM Express 1.3, 5). */
import type { GuestMemory } from '../../memory/memory.ts';
import * as nvme from './commands.ts';
import { type Answer, answer, type Command } from './commands.ts';
import {
  EVENTS,
  healthLog,
  type Identity,
  identifyController,
  identifyNamespace,
  namespaceNames,
  namespacesAfter,
} from './identify.ts';
import { NAMESPACE, type NvmeNamespace } from './namespace.ts';
import { MOST_ENTRIES, type NvmeState, QUEUES } from './queues.ts';

const DELETE_SUBMISSION_QUEUE = 0x00;
const CREATE_SUBMISSION_QUEUE = 0x01;
const GET_LOG_PAGE = 0x02;
const DELETE_COMPLETION_QUEUE = 0x04;
const CREATE_COMPLETION_QUEUE = 0x05;
const IDENTIFY = 0x06;
const ABORT = 0x08;
const SET_FEATURES = 0x09;
const GET_FEATURES = 0x0a;
const ASYNCHRONOUS_EVENT_REQUEST = 0x0c;

/** Bits of word 11 of commands that create queues: in one piece, and with interrupts. */
const CONTIGUOUS = 1;
const INTERRUPTS = 2;

const VOLATILE_WRITE_CACHE = 0x06;
const NUMBER_OF_QUEUES = 0x07;
const EVENT_CONFIGURATION = 0x0b;
const ALL_QUEUES = (QUEUES - 1) | ((QUEUES - 1) << 16);

const ERROR_LOG = 1;
const HEALTH_LOG = 2;
const FIRMWARE_LOG = 3;
const MOST_LOG_BYTES = 4096;

export interface Admin {
  readonly memory: GuestMemory;
  readonly namespace: NvmeNamespace;
  readonly state: NvmeState;
  readonly identity: Identity;
  /** Of the controller, 0 to 255. */
  readonly number: number;
}

/** @returns undefined for a command that is not completed now */
export function executeAdmin(admin: Admin, command: Command): Answer | undefined {
  const { state } = admin;
  switch (command.opcode) {
    case CREATE_SUBMISSION_QUEUE:
      return createSubmissionQueue(admin, command);
    case CREATE_COMPLETION_QUEUE:
      return createCompletionQueue(admin, command);
    case DELETE_SUBMISSION_QUEUE: {
      const number = command.word(10) & 0xffff;
      // Its commands have been done: none is left to be aborted.
      return answer(number !== 0 && state.submissions.delete(number) ? nvme.SUCCESS : nvme.INVALID_QUEUE);
    }
    case DELETE_COMPLETION_QUEUE: {
      const number = command.word(10) & 0xffff;
      if (number === 0 || !state.completions.has(number)) return answer(nvme.INVALID_QUEUE);
      for (const { completion } of state.submissions.values())
        if (completion === number) return answer(nvme.INVALID_DELETION);
      state.completions.delete(number);
      return answer(nvme.SUCCESS);
    }
    case IDENTIFY:
      return identify(admin, command);
    case GET_LOG_PAGE:
      return logPage(admin, command);
    case ABORT: // Bit 0: it was not aborted, since it has been done.
      return { status: nvme.SUCCESS, result: 1 };
    case SET_FEATURES:
      return setFeature(admin, command);
    case GET_FEATURES:
      return getFeature(admin, command);
    case ASYNCHRONOUS_EVENT_REQUEST:
      if (state.events >= EVENTS) return answer(nvme.EVENT_LIMIT_EXCEEDED);
      state.events++;
      return undefined;
  }
  return answer(nvme.INVALID_OPCODE);
}

/** What both kinds of queues have: number, size and place. @returns a status if that cannot be */
function placeOf(
  { memory }: Admin,
  command: Command,
  taken: boolean,
  entry: number,
): { base: number; size: number } | number {
  const number = command.word(10) & 0xffff;
  const size = (command.word(10) >>> 16) + 1;
  const base = command.pointer;
  if (number === 0 || number > QUEUES || taken) return nvme.INVALID_QUEUE;
  if (size < 2 || size > MOST_ENTRIES) return nvme.INVALID_QUEUE_SIZE;
  if (!(command.word(11) & CONTIGUOUS) || base % 4096 || !memory.has(base, size * entry)) return nvme.INVALID_FIELD;
  return { base, size };
}

function createSubmissionQueue(admin: Admin, command: Command): Answer {
  const { submissions, completions } = admin.state;
  const number = command.word(10) & 0xffff;
  const place = placeOf(admin, command, submissions.has(number), nvme.COMMAND_BYTES);
  if (typeof place === 'number') return answer(place);
  const completion = command.word(11) >>> 16;
  if (completion === 0 || !completions.has(completion)) return answer(nvme.INVALID_COMPLETION_QUEUE);
  submissions.set(number, { ...place, head: 0, tail: 0, completion });
  return answer(nvme.SUCCESS);
}

function createCompletionQueue(admin: Admin, command: Command): Answer {
  const { completions } = admin.state;
  const number = command.word(10) & 0xffff;
  const place = placeOf(admin, command, completions.has(number), nvme.COMPLETION_BYTES);
  if (typeof place === 'number') return answer(place);
  const vector = command.word(11) >>> 16;
  if (vector > QUEUES) return answer(nvme.INVALID_VECTOR);
  const interrupts = (command.word(11) & INTERRUPTS) !== 0;
  completions.set(number, { ...place, head: 0, tail: 0, phase: 1, interrupts, vector });
  return answer(nvme.SUCCESS);
}

function identify(admin: Admin, command: Command): Answer {
  const { namespace, identity, number } = admin;
  switch (command.word(10) & 0xff) {
    case 0:
      return command.namespace === NAMESPACE
        ? give(admin, command, identifyNamespace(namespace))
        : answer(nvme.INVALID_NAMESPACE);
    case 1:
      return give(admin, command, identifyController(identity));
    case 2:
      return give(admin, command, namespacesAfter(command.namespace));
    case 3:
      return command.namespace === NAMESPACE
        ? give(admin, command, namespaceNames(number))
        : answer(nvme.INVALID_NAMESPACE);
  }
  return answer(nvme.INVALID_FIELD);
}

function logPage(admin: Admin, command: Command): Answer {
  const length = 4 * (((command.word(10) >>> 16) & 0xfff) + 1);
  const page = command.word(10) & 0xff;
  if (length > MOST_LOG_BYTES || command.word(12) !== 0 || command.word(13) !== 0) return answer(nvme.INVALID_FIELD);
  const bytes = new Uint8Array(length);
  if (page === HEALTH_LOG) bytes.set(healthLog().subarray(0, length));
  else if (page !== ERROR_LOG && page !== FIRMWARE_LOG) return answer(nvme.INVALID_FIELD);
  return give(admin, command, bytes);
}

/** Hands data to the driver. */
function give({ memory }: Admin, command: Command, data: Uint8Array): Answer {
  const buffer = command.buffer(memory, data.length);
  if (!buffer) return answer(nvme.DATA_TRANSFER_ERROR);
  buffer.copyIn(0, data);
  return answer(nvme.SUCCESS);
}

function setFeature({ state, namespace }: Admin, command: Command): Answer {
  switch (command.word(10) & 0xff) {
    case NUMBER_OF_QUEUES:
      return { status: nvme.SUCCESS, result: ALL_QUEUES };
    case VOLATILE_WRITE_CACHE:
      state.cache = (command.word(11) & 1) !== 0;
      return state.cache ? answer(nvme.SUCCESS) : namespace.flush();
    case EVENT_CONFIGURATION:
      return answer(nvme.SUCCESS);
  }
  return answer(nvme.INVALID_FIELD);
}

function getFeature({ state }: Admin, command: Command): Answer {
  switch (command.word(10) & 0xff) {
    case NUMBER_OF_QUEUES:
      return { status: nvme.SUCCESS, result: ALL_QUEUES };
    case VOLATILE_WRITE_CACHE:
      return { status: nvme.SUCCESS, result: state.cache ? 1 : 0 };
    case EVENT_CONFIGURATION:
      return answer(nvme.SUCCESS);
  }
  return answer(nvme.INVALID_FIELD);
}
