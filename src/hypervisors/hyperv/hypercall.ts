/**
 * Hypercalls (TLFS chapter 4): an input value with the code and what form the call has, the guest-physical addresses of
 * input and output (or, in a fast call, the input itself), and a result with a status. A 32-bit caller has each in a
 * pair of registers.
 */
import type { Hypercall, HypercallConvention, HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor, RegisterName } from '../../paravirt/processor.ts';
import { CR0_PE } from '../../x86/control.ts';
import { PAYLOAD_SIZE } from './messages.ts';
import type { Vmbus } from './vmbus.ts';

const HvCallNotifyLongSpinWait = 0x0008;
const HvCallPostMessage = 0x005c;
const HvCallSignalEvent = 0x005d;

const HV_STATUS_SUCCESS = 0x0000;
const HV_STATUS_INVALID_HYPERCALL_CODE = 0x0002;
const HV_STATUS_INVALID_HYPERCALL_INPUT = 0x0003;
const HV_STATUS_INVALID_ALIGNMENT = 0x0004;
const HV_STATUS_INVALID_PARAMETER = 0x0005;
const HV_STATUS_INVALID_CONNECTION_ID = 0x0012;
const HV_STATUS_INSUFFICIENT_BUFFERS = 0x0013;

/**
 * The input value: code in bits 0-15, fast in 16; header size, repetitions and their start, and reserved bits above.
 */
const FAST = 1n << 16n;
/** None of our calls repeats or has a header of variable size. */
const MUST_BE_ZERO = 0xffff_ffff_fffe_0000n;

/** HV_INPUT_POST_MESSAGE: connection, reserved, message type, size of the payload, payload. */
const POST_MESSAGE_SIZE = 16 + PAYLOAD_SIZE;
/** Connection ids have 24 bits. */
const CONNECTION = 0xffffff;
/** HV_INPUT_SIGNAL_EVENT: connection, flag number. */
const SIGNAL_EVENT_SIZE = 8;

export const hypercalls: Readonly<Record<number, Hypercall>> = {
  [HvCallNotifyLongSpinWait]: { name: 'HvCallNotifyLongSpinWait', arguments: ['spin_count'], status: 'done' },
  [HvCallPostMessage]: {
    name: 'HvCallPostMessage',
    arguments: ['input'],
    status: 'partly',
    note: 'to the VMBus',
  },
  [HvCallSignalEvent]: {
    name: 'HvCallSignalEvent',
    arguments: ['input'],
    status: 'partly',
    note: 'to channels of the VMBus',
  },
};

/** A value in a register, or in a 32-bit caller's pair of them, the upper half first. */
const value64 = (cpu: Processor, wide: RegisterName, high: RegisterName, low: RegisterName): bigint =>
  cpu.mode === 64 ? cpu.get(wide) : (BigInt.asUintN(32, cpu.get(high)) << 32n) | BigInt.asUintN(32, cpu.get(low));
const inputValue = (cpu: Processor): bigint => value64(cpu, 'rcx', 'rdx', 'rax');
const inputParameter = (cpu: Processor): bigint => value64(cpu, 'rdx', 'rbx', 'rcx');

export const convention: HypercallConvention = {
  number: cpu => Number(inputValue(cpu) & 0xffffn),
  registers: cpu => (cpu.mode === 64 ? ['rdx', 'r8'] : ['rcx', 'rsi']),
};

/** @param mayCall false until the guest has said who it is and enabled its hypercall page */
export function createHypercall({ memory }: HypervisorContext, vmbus: Vmbus, mayCall: () => boolean) {
  function postMessage(cpu: Processor, fast: boolean, input: bigint): number {
    if (fast) return HV_STATUS_INVALID_HYPERCALL_INPUT;
    const address = Number(input);
    if (address % 8 !== 0) return HV_STATUS_INVALID_ALIGNMENT;
    if (!memory.has(address, POST_MESSAGE_SIZE)) return HV_STATUS_INVALID_PARAMETER;
    const connection = memory.read32(address) & CONNECTION;
    const size = memory.read32(address + 12);
    if (size > PAYLOAD_SIZE) return HV_STATUS_INVALID_PARAMETER;
    if (!vmbus.takesMessages(connection)) return HV_STATUS_INVALID_CONNECTION_ID;
    const taken = vmbus.post(cpu, memory.read32(address + 8), memory.copyOut(address + 16, size));
    return taken ? HV_STATUS_SUCCESS : HV_STATUS_INSUFFICIENT_BUFFERS;
  }

  function signalEvent(fast: boolean, input: bigint): number {
    if (!fast) {
      const address = Number(input);
      if (address % 8 !== 0) return HV_STATUS_INVALID_ALIGNMENT;
      if (!memory.has(address, SIGNAL_EVENT_SIZE)) return HV_STATUS_INVALID_PARAMETER;
      input = memory.read64(address);
    }
    const connection = Number(input & BigInt(CONNECTION));
    return vmbus.signal(connection) ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_CONNECTION_ID;
  }

  function run(cpu: Processor): number {
    const value = inputValue(cpu);
    const code = Number(value & 0xffffn);
    if (!(code in hypercalls)) {
      cpu.log.once(`hyperv-hypercall-${code}`, `Hyper-V hypercall 0x${code.toString(16)}: not implemented`);
      return HV_STATUS_INVALID_HYPERCALL_CODE;
    }
    const fast = (value & FAST) !== 0n;
    if (value & MUST_BE_ZERO) return HV_STATUS_INVALID_HYPERCALL_INPUT;
    if (code === HvCallPostMessage) return postMessage(cpu, fast, inputParameter(cpu));
    if (code === HvCallSignalEvent) return signalEvent(fast, inputParameter(cpu));
    // HvCallNotifyLongSpinWait: the holder of the lock runs when this call returns.
    return HV_STATUS_SUCCESS;
  }

  return (cpu: Processor): boolean => {
    // Programs, real mode and a guest that has not enabled its hypercall page cannot call.
    if (cpu.cpl > 0 || !(cpu.get('cr0') & BigInt(CR0_PE)) || !mayCall()) return false;
    cpu.set('rax', BigInt(run(cpu)));
    if (cpu.mode !== 64) cpu.set('rdx', 0n);
    return true;
  };
}
