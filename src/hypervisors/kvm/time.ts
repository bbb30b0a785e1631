/** KVM's clock and its steal time (Documentation/virt/kvm/x86/msr.rst). */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { StealTime } from './steal-time.ts';
import type { SystemTime } from './system-time.ts';

/** The numbers of the first version, which collide with real processors' registers and need CLOCKSOURCE alone. */
const MSR_KVM_WALL_CLOCK = 0x11;
const MSR_KVM_SYSTEM_TIME = 0x12;
const MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00;
const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;
const MSR_KVM_STEAL_TIME = 0x4b564d03;

/** struct pvclock_wall_clock: u32 version, u32 sec, u32 nsec. */
const WALL_CLOCK_SIZE = 12;
const NANOSECONDS = 1_000_000_000n;

export function createTime(context: HypervisorContext, systemTime: SystemTime, stealTime: StealTime): Group<'time'> {
  const { memory, clock, log } = context;
  const states = perProcessor(context, 'kvm/wall-clock', 1, () => ({
    MSR_KVM_WALL_CLOCK: 0n,
    MSR_KVM_WALL_CLOCK_NEW: 0n,
  }));

  /** Written with an address each time the guest wants to know when it was booted, in wall-clock time. */
  const wallClock = (name: 'MSR_KVM_WALL_CLOCK' | 'MSR_KVM_WALL_CLOCK_NEW'): Msr => ({
    name,
    read: ({ id }) => states[id][name],
    write({ id }, value) {
      states[id][name] = value;
      const address = Number(value);
      if (!memory.has(address, WALL_CLOCK_SIZE)) {
        // KVM takes the address and cannot use it.
        log.once(`${name}-${address}`, `${name}: 0x${address.toString(16)} is not in RAM: ignored`);
        return true;
      }
      const version = (memory.read32(address) | 1) >>> 0;
      memory.write32(address, version);
      memory.write32(address + 4, Number(BigInt.asUintN(32, clock.epoch / NANOSECONDS)));
      memory.write32(address + 8, Number(clock.epoch % NANOSECONDS));
      memory.write32(address, (version + 1) >>> 0);
      return true;
    },
  });

  return {
    msrs: {
      [MSR_KVM_WALL_CLOCK]: wallClock('MSR_KVM_WALL_CLOCK'),
      [MSR_KVM_SYSTEM_TIME]: systemTime.register('MSR_KVM_SYSTEM_TIME'),
      [MSR_KVM_WALL_CLOCK_NEW]: wallClock('MSR_KVM_WALL_CLOCK_NEW'),
      [MSR_KVM_SYSTEM_TIME_NEW]: systemTime.register('MSR_KVM_SYSTEM_TIME_NEW'),
      [MSR_KVM_STEAL_TIME]: stealTime.register,
    },
    tscMoved: systemTime.tscMoved,
    resumed(cpu, stolen) {
      // One that waits to be started wants nothing.
      if (cpu.started) stealTime.add(cpu, stolen);
    },
  };
}
