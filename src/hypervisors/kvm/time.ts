/** KVM's clock and its steal time (Documentation/virt/kvm/x86/msr.rst). */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { PVCLOCK_SIZE, PVCLOCK_TSC_STABLE, pvclockScale, writePvclock } from '../../paravirt/pvclock.ts';

/** The numbers of the first version, which collide with real processors' registers and need CLOCKSOURCE alone. */
const MSR_KVM_WALL_CLOCK = 0x11;
const MSR_KVM_SYSTEM_TIME = 0x12;
const MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00;
const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;
const MSR_KVM_STEAL_TIME = 0x4b564d03;

const KVM_MSR_ENABLED = 1n;
/** struct pvclock_wall_clock: u32 version, u32 sec, u32 nsec. */
const WALL_CLOCK_SIZE = 12;
const NANOSECONDS = 1_000_000_000n;
/** Bits 1-5 of MSR_KVM_STEAL_TIME must be zero: the record is 64-byte aligned. */
const KVM_STEAL_RESERVED_MASK = 0x3en;
/** struct kvm_steal_time: u64 steal, u32 version, u32 flags, u8 preempted, padding. */
const STEAL_TIME_SIZE = 64;

/**
 * What was last written: each is the guest-physical address of a record, and whether to keep it. The old and the new
 * number of system time are one register.
 */
const REGISTERS = {
  MSR_KVM_WALL_CLOCK: 0n,
  MSR_KVM_WALL_CLOCK_NEW: 0n,
  MSR_KVM_SYSTEM_TIME: 0n,
  MSR_KVM_STEAL_TIME: 0n,
};
type RegisterName = keyof typeof REGISTERS;

export function createTime(context: HypervisorContext): Group<'time'> {
  const { memory, clock, log } = context;
  const states = perProcessor(context, 'kvm/time', 2, () => ({ ...REGISTERS }));

  /** A register that keeps what was written if `takes` took it; `takes` answers false for #GP. */
  const register = (name: string, kept: RegisterName, takes: (cpu: Processor, value: bigint) => boolean): Msr => ({
    name,
    read: cpu => states[cpu.id][kept],
    write(cpu, value) {
      if (!takes(cpu, value)) return false;
      states[cpu.id][kept] = value;
      return true;
    },
  });

  const outside = (name: string, address: number): true => {
    // KVM takes the address and cannot use it.
    log.once(`${name}-${address}`, `${name}: 0x${address.toString(16)} is not in RAM: ignored`);
    return true;
  };

  /** The record that says how the TSC becomes time. The TSC runs with the clock, so that it holds until one is set. */
  const writeSystemTime = (cpu: Processor, address: number): void => {
    const now = clock.now();
    writePvclock(memory, address, {
      tsc: cpu.tsc.at(now),
      systemTime: BigInt(Math.floor(now)),
      scale: pvclockScale(cpu.tsc.frequency),
      flags: PVCLOCK_TSC_STABLE,
    });
  };

  /** The guest hands over the address of a record and from then on makes its time of the TSC alone. */
  const systemTime = (name: string) =>
    register(name, 'MSR_KVM_SYSTEM_TIME', (cpu, value) => {
      if (!(value & KVM_MSR_ENABLED)) return true;
      const address = Number(value & ~KVM_MSR_ENABLED);
      if (!memory.has(address, PVCLOCK_SIZE)) return outside(name, address);
      writeSystemTime(cpu, address);
      return true;
    });

  /** Written with an address each time the guest wants to know when it was booted, in wall-clock time. */
  const wallClock = (name: 'MSR_KVM_WALL_CLOCK' | 'MSR_KVM_WALL_CLOCK_NEW') =>
    register(name, name, (_cpu, value) => {
      const address = Number(value);
      if (!memory.has(address, WALL_CLOCK_SIZE)) return outside(name, address);
      const version = (memory.read32(address) | 1) >>> 0;
      memory.write32(address, version);
      memory.write32(address + 4, Number(BigInt.asUintN(32, clock.epoch / NANOSECONDS)));
      memory.write32(address + 8, Number(clock.epoch % NANOSECONDS));
      memory.write32(address, (version + 1) >>> 0);
      return true;
    });

  /** Adds to the time that the host took from the guest while it wanted to run, in the record at `address`. */
  const addStolen = (address: number, nanoseconds: number): void => {
    const version = (memory.read32(address + 8) | 1) >>> 0;
    memory.write32(address + 8, version);
    memory.write64(address, memory.read64(address) + BigInt(Math.floor(nanoseconds)));
    memory.write32(address + 8, (version + 1) >>> 0);
  };

  const stealTime = register('MSR_KVM_STEAL_TIME', 'MSR_KVM_STEAL_TIME', (_cpu, value) => {
    if (value & KVM_STEAL_RESERVED_MASK) return false;
    if (!(value & KVM_MSR_ENABLED)) return true;
    const address = Number(value & ~KVM_MSR_ENABLED);
    if (!memory.has(address, STEAL_TIME_SIZE)) return false;
    addStolen(address, 0);
    return true;
  });

  return {
    msrs: {
      [MSR_KVM_WALL_CLOCK]: wallClock('MSR_KVM_WALL_CLOCK'),
      [MSR_KVM_SYSTEM_TIME]: systemTime('MSR_KVM_SYSTEM_TIME'),
      [MSR_KVM_WALL_CLOCK_NEW]: wallClock('MSR_KVM_WALL_CLOCK_NEW'),
      [MSR_KVM_SYSTEM_TIME_NEW]: systemTime('MSR_KVM_SYSTEM_TIME_NEW'),
      [MSR_KVM_STEAL_TIME]: stealTime,
    },
    tscMoved(cpu) {
      const value = states[cpu.id].MSR_KVM_SYSTEM_TIME;
      const address = Number(value & ~KVM_MSR_ENABLED);
      if (value & KVM_MSR_ENABLED && memory.has(address, PVCLOCK_SIZE)) writeSystemTime(cpu, address);
    },
    resumed(cpu, stolen) {
      const value = states[cpu.id].MSR_KVM_STEAL_TIME;
      if (value & KVM_MSR_ENABLED) addStolen(Number(value & ~KVM_MSR_ENABLED), stolen);
    },
  };
}
