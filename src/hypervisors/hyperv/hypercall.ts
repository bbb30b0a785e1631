/**
 * Hypercalls (TLFS chapter 4): an input value with the code and what form the call has, the guest-physical addresses of
 * input and output (or, in a fast call, the input itself), and a result with a status. A 32-bit caller has each in a
 * pair of registers.
 */
import type { HypercallConvention, HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor, RegisterName } from '../../paravirt/processor.ts';
import { CR0_PE } from '../../x86/control.ts';
import {
  type Call,
  type Calls,
  HV_STATUS_INSUFFICIENT_BUFFERS,
  HV_STATUS_INVALID_CONNECTION_ID,
  HV_STATUS_INVALID_HYPERCALL_CODE,
  HV_STATUS_INVALID_HYPERCALL_INPUT,
  HV_STATUS_INVALID_PARAMETER,
  HV_STATUS_SUCCESS,
  type Input,
  inputAt,
} from './call.ts';
import { PAYLOAD_SIZE } from './messages.ts';
import { createProcessorCalls } from './processor-calls.ts';
import type { Vmbus } from './vmbus.ts';

const HvCallPostMessage = 0x005c;
const HvCallSignalEvent = 0x005d;

/** The input value (TLFS 4.7.1): code in bits 0-15, fast in 16, and these. */
const FAST = 1n << 16n;
const field = (shift: bigint, width: bigint) => (value: bigint) => Number((value >> shift) & ((1n << width) - 1n));
const variableHeaderSize = field(17n, 10n);
const repCount = field(32n, 12n);
const repStartIndex = field(48n, 12n);
const MUST_BE_ZERO = 0xf000_f000_f800_0000n;
/** The result: a status, and from this bit on the number of elements that are done. */
const REPS_COMPLETED_SHIFT = 32n;

/** HV_INPUT_POST_MESSAGE: connection, reserved, message type, size of the payload, payload. */
const POST_MESSAGE_SIZE = 16 + PAYLOAD_SIZE;
/** Connection ids have 24 bits. */
const CONNECTION = 0xffffff;
/** HV_INPUT_SIGNAL_EVENT: connection, flag number. */
const SIGNAL_EVENT_SIZE = 8;

/** A value in a register, or in a 32-bit caller's pair of them, the upper half first. */
const value64 = (cpu: Processor, wide: RegisterName, high: RegisterName, low: RegisterName): bigint =>
  cpu.mode === 64 ? cpu.get(wide) : (BigInt.asUintN(32, cpu.get(high)) << 32n) | BigInt.asUintN(32, cpu.get(low));
const inputValue = (cpu: Processor): bigint => value64(cpu, 'rcx', 'rdx', 'rax');
const firstParameter = (cpu: Processor): bigint => value64(cpu, 'rdx', 'rbx', 'rcx');
const secondParameter = (cpu: Processor): bigint => value64(cpu, 'r8', 'rdi', 'rsi');

export const convention: HypercallConvention = {
  number: cpu => Number(inputValue(cpu) & 0xffffn),
  registers: cpu => (cpu.mode === 64 ? ['rdx', 'r8'] : ['rcx', 'rsi']),
};

/** Calls to the VMBus. */
function busCalls({ memory }: HypervisorContext, vmbus: Vmbus): Calls {
  function postMessage(input: Input): number {
    const [address, status] = inputAt(memory, input, POST_MESSAGE_SIZE);
    if (address === undefined) return status;
    const connection = memory.read32(address) & CONNECTION;
    const size = memory.read32(address + 12);
    if (size > PAYLOAD_SIZE) return HV_STATUS_INVALID_PARAMETER;
    if (!vmbus.takesMessages(connection)) return HV_STATUS_INVALID_CONNECTION_ID;
    const taken = vmbus.post(input.cpu, memory.read32(address + 8), memory.copyOut(address + 16, size));
    return taken ? HV_STATUS_SUCCESS : HV_STATUS_INSUFFICIENT_BUFFERS;
  }

  function signalEvent(input: Input): number {
    let { first } = input;
    if (!input.fast) {
      const [address, status] = inputAt(memory, input, SIGNAL_EVENT_SIZE);
      if (address === undefined) return status;
      first = memory.read64(address);
    }
    const connection = Number(first & BigInt(CONNECTION));
    return vmbus.signal(connection) ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_CONNECTION_ID;
  }

  return {
    [HvCallPostMessage]: {
      name: 'HvCallPostMessage',
      arguments: ['input'],
      status: 'partly',
      note: 'to the VMBus',
      run: postMessage,
    },
    [HvCallSignalEvent]: {
      name: 'HvCallSignalEvent',
      arguments: ['input'],
      status: 'partly',
      note: 'to channels of the VMBus',
      run: signalEvent,
    },
  };
}

/** False for an input value that this call cannot have (TLFS 4.7.1): a list where there is none, or none where there is. */
function isPossible(value: bigint, { repeats, varies }: Call): boolean {
  if (value & MUST_BE_ZERO || (!varies && variableHeaderSize(value) !== 0)) return false;
  const [count, start] = [repCount(value), repStartIndex(value)];
  return repeats ? start < count : count === 0 && start === 0;
}

/** @param mayCall false until the guest has said who it is and enabled its hypercall page */
export function createHypercall(context: HypervisorContext, vmbus: Vmbus, mayCall: () => boolean) {
  const calls: Calls = { ...createProcessorCalls(context), ...busCalls(context, vmbus) };

  /** @returns the result: a status, and how many elements are done */
  function run(cpu: Processor): bigint {
    const value = inputValue(cpu);
    const code = Number(value & 0xffffn);
    const call = calls[code];
    if (!call) {
      cpu.log.once(`hyperv-hypercall-${code}`, `Hyper-V hypercall 0x${code.toString(16)}: not implemented`);
      return BigInt(HV_STATUS_INVALID_HYPERCALL_CODE);
    }
    if (!isPossible(value, call)) return BigInt(HV_STATUS_INVALID_HYPERCALL_INPUT);
    const [start, count] = [repStartIndex(value), repCount(value)];
    const status = call.run({
      cpu,
      fast: (value & FAST) !== 0n,
      first: firstParameter(cpu),
      second: secondParameter(cpu),
      headerSize: variableHeaderSize(value),
      start,
      count,
    });
    const done = status === HV_STATUS_SUCCESS ? count : start;
    return (BigInt(done) << REPS_COMPLETED_SHIFT) | BigInt(status);
  }

  const hypercall = (cpu: Processor): boolean => {
    // Programs, real mode and a guest that has not enabled its hypercall page cannot call.
    if (cpu.cpl > 0 || !(cpu.get('cr0') & BigInt(CR0_PE)) || !mayCall()) return false;
    const result = run(cpu);
    if (cpu.mode === 64) cpu.set('rax', result);
    else {
      cpu.set('rax', BigInt.asUintN(32, result));
      cpu.set('rdx', result >> 32n);
    }
    return true;
  };
  return { hypercall, hypercalls: calls };
}
