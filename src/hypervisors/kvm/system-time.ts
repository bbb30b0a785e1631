/**
 * kvmclock's record, one a processor (Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW): the guest hands over an
 * address and from then on makes its time of the TSC alone. All processors' records say the same, since their TSCs do.
 */
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { PVCLOCK_SIZE, PVCLOCK_TSC_STABLE, pvclockScale, writePvclock } from '../../paravirt/pvclock.ts';

const KVM_MSR_ENABLED = 1n;

export interface SystemTime {
  /** The register, which has two numbers. */
  register(name: string): Msr;
  tscMoved(cpu: Processor): void;
  /** INIT: there is no record any more. */
  forget(cpu: Processor): void;
}

export function createSystemTime(context: HypervisorContext): SystemTime {
  const { memory, clock, log } = context;
  const states = perProcessor(context, 'kvm/system-time', 1, () => ({ MSR_KVM_SYSTEM_TIME: 0n }));

  /** Writes how the TSC becomes time, if a record is kept. The TSC runs with the clock, so that it holds until one is set. */
  const write = (cpu: Processor, name: string): void => {
    const value = states[cpu.id].MSR_KVM_SYSTEM_TIME;
    if (!(value & KVM_MSR_ENABLED)) return;
    const address = Number(value & ~KVM_MSR_ENABLED);
    if (!memory.has(address, PVCLOCK_SIZE)) {
      // KVM takes the address and cannot use it.
      log.once(`${name}-${address}`, `${name}: 0x${address.toString(16)} is not in RAM: ignored`);
      return;
    }
    const now = clock.now();
    writePvclock(memory, address, {
      tsc: cpu.tsc.at(now),
      systemTime: BigInt(Math.floor(now)),
      scale: pvclockScale(cpu.tsc.frequency),
      flags: PVCLOCK_TSC_STABLE,
    });
  };

  return {
    register: name => ({
      name,
      read: ({ id }) => states[id].MSR_KVM_SYSTEM_TIME,
      write(cpu, value) {
        states[cpu.id].MSR_KVM_SYSTEM_TIME = value;
        write(cpu, name);
        return true;
      },
    }),
    tscMoved: cpu => write(cpu, 'MSR_KVM_SYSTEM_TIME'),
    forget({ id }) {
      states[id].MSR_KVM_SYSTEM_TIME = 0n;
    },
  };
}
