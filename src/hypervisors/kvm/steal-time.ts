/**
 * The steal time record (Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME), one a processor: for how long it could not
 * execute although it wanted to, and whether that is so now. Who finds that it is so need not interrupt it to have its TLB
 * flushed: a bit in the record does, before it executes again.
 */
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';

const KVM_MSR_ENABLED = 1n;
/** Bits 1-5 of MSR_KVM_STEAL_TIME must be zero: the record is 64-byte aligned. */
const KVM_STEAL_RESERVED_MASK = 0x3en;

/** struct kvm_steal_time: u64 steal, u32 version, u32 flags, u8 preempted, padding. */
const STEAL_TIME_SIZE = 64;
const VERSION = 8;
const PREEMPTED = 16;
/** Bits of `preempted`: the host's, and the one that other processors set while that is set. */
const KVM_VCPU_PREEMPTED = 1;
const KVM_VCPU_FLUSH_TLB = 2;

export interface StealTime {
  readonly register: Msr;
  /** More time has been stolen, in nanoseconds. */
  add(cpu: Processor, nanoseconds: number): void;
  /** The processor's turn is over, and it could have executed more. */
  preempt(cpu: Processor): void;
  /** It executes from now on. Flushes its TLB, if that has been asked for meanwhile. */
  resume(cpu: Processor): void;
  /** INIT: there is no record any more. */
  forget(cpu: Processor): void;
}

export function createStealTime(context: HypervisorContext): StealTime {
  const { memory } = context;
  const states = perProcessor(context, 'kvm/steal-time', 1, () => ({ MSR_KVM_STEAL_TIME: 0n }));

  /** The guest-physical address of the record, which is in RAM; undefined: none is kept. */
  const recordOf = ({ id }: Processor): number | undefined => {
    const value = states[id].MSR_KVM_STEAL_TIME;
    return value & KVM_MSR_ENABLED ? Number(value & ~KVM_MSR_ENABLED) : undefined;
  };

  const add = (cpu: Processor, nanoseconds: number): void => {
    const record = recordOf(cpu);
    if (record === undefined) return;
    const version = (memory.read32(record + VERSION) | 1) >>> 0;
    memory.write32(record + VERSION, version);
    memory.write64(record, BigInt.asUintN(64, memory.read64(record) + BigInt(Math.floor(nanoseconds))));
    memory.write32(record + VERSION, (version + 1) >>> 0);
  };

  const register: Msr = {
    name: 'MSR_KVM_STEAL_TIME',
    read: ({ id }) => states[id].MSR_KVM_STEAL_TIME,
    write(cpu, value) {
      if (value & KVM_STEAL_RESERVED_MASK) return false;
      if (value & KVM_MSR_ENABLED && !memory.has(Number(value & ~KVM_MSR_ENABLED), STEAL_TIME_SIZE)) return false;
      states[cpu.id].MSR_KVM_STEAL_TIME = value;
      add(cpu, 0);
      return true;
    },
  };

  return {
    register,
    add,
    preempt(cpu) {
      const record = recordOf(cpu);
      if (record !== undefined) memory.write8(record + PREEMPTED, KVM_VCPU_PREEMPTED);
    },
    resume(cpu) {
      const record = recordOf(cpu);
      if (record === undefined) return;
      const preempted = memory.read8(record + PREEMPTED);
      if (preempted === 0) return;
      memory.write8(record + PREEMPTED, 0);
      if (preempted & KVM_VCPU_FLUSH_TLB) cpu.flush(true);
    },
    forget({ id }) {
      states[id].MSR_KVM_STEAL_TIME = 0n;
    },
  };
}
