/** KVM's clock and its steal time (Documentation/virt/kvm/x86/msr.rst). */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
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

/** A register that keeps what was written and acts on it; `write` answers false for #GP. */
function remembered(name: string, write: (cpu: Processor, value: bigint) => boolean): Msr {
  const values = new Map<number, bigint>();
  return {
    name,
    read: cpu => values.get(cpu.id) ?? 0n,
    write(cpu, value) {
      if (!write(cpu, value)) return false;
      values.set(cpu.id, value);
      return true;
    },
  };
}

/**
 * The clock: the guest hands over the address of a record and from then on makes its time of the TSC alone. Since our TSC
 * is the clock's time multiplied, a record never goes stale and is written once.
 */
function clockRegisters({ memory, clock, log }: HypervisorContext): Readonly<Record<number, Msr>> {
  const outside = (name: string, address: number): true => {
    // KVM takes the address and cannot use it.
    log.once(`${name}-${address}`, `${name}: 0x${address.toString(16)} is not in RAM: ignored`);
    return true;
  };

  const systemTime = (name: string) =>
    remembered(name, (cpu, value) => {
      if (!(value & KVM_MSR_ENABLED)) return true;
      const address = Number(value & ~KVM_MSR_ENABLED);
      if (!memory.has(address, PVCLOCK_SIZE)) return outside(name, address);
      writePvclock(memory, address, {
        tsc: cpu.tsc.read(),
        systemTime: BigInt(Math.floor(clock.now())),
        scale: pvclockScale(cpu.tsc.frequency),
        flags: PVCLOCK_TSC_STABLE,
      });
      return true;
    });

  /** Written with an address each time the guest wants to know when it was booted, in wall-clock time. */
  const wallClock = (name: string) =>
    remembered(name, (_cpu, value) => {
      const address = Number(value);
      if (!memory.has(address, WALL_CLOCK_SIZE)) return outside(name, address);
      const version = (memory.read32(address) | 1) >>> 0;
      memory.write32(address, version);
      memory.write32(address + 4, Number(BigInt.asUintN(32, clock.epoch / NANOSECONDS)));
      memory.write32(address + 8, Number(clock.epoch % NANOSECONDS));
      memory.write32(address, (version + 1) >>> 0);
      return true;
    });

  return {
    [MSR_KVM_WALL_CLOCK]: wallClock('MSR_KVM_WALL_CLOCK'),
    [MSR_KVM_SYSTEM_TIME]: systemTime('MSR_KVM_SYSTEM_TIME'),
    [MSR_KVM_WALL_CLOCK_NEW]: wallClock('MSR_KVM_WALL_CLOCK_NEW'),
    [MSR_KVM_SYSTEM_TIME_NEW]: systemTime('MSR_KVM_SYSTEM_TIME_NEW'),
  };
}

/** Bits 1-5 of MSR_KVM_STEAL_TIME must be zero: the record is 64-byte aligned. */
const KVM_STEAL_RESERVED_MASK = 0x3en;
/** struct kvm_steal_time: u64 steal, u32 version, u32 flags, u8 preempted, padding. */
const STEAL_TIME_SIZE = 64;

/** Time the host took from the guest while it wanted to run, in nanoseconds, kept in a record of the guest's. */
function createStealTime({ memory }: HypervisorContext) {
  const records = new Map<number, number>();

  const update = (cpu: Processor, nanoseconds: number): void => {
    const address = records.get(cpu.id);
    if (address === undefined) return;
    const version = (memory.read32(address + 8) | 1) >>> 0;
    memory.write32(address + 8, version);
    memory.write64(address, memory.read64(address) + BigInt(Math.floor(nanoseconds)));
    memory.write32(address + 8, (version + 1) >>> 0);
  };

  const msr = remembered('MSR_KVM_STEAL_TIME', (cpu, value) => {
    const address = Number(value & ~KVM_MSR_ENABLED);
    const enabled = (value & KVM_MSR_ENABLED) !== 0n;
    if (value & KVM_STEAL_RESERVED_MASK || (enabled && !memory.has(address, STEAL_TIME_SIZE))) return false;
    if (enabled) records.set(cpu.id, address);
    else records.delete(cpu.id);
    update(cpu, 0);
    return true;
  });

  return { msr, update };
}

export function createTime(context: HypervisorContext): Group<'time'> {
  const stealTime = createStealTime(context);
  return {
    msrs: { ...clockRegisters(context), [MSR_KVM_STEAL_TIME]: stealTime.msr },
    resumed: stealTime.update,
  };
}
