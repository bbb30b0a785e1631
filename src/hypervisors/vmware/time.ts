/** The steal clock: time the host took from the guest while it wanted to run (Linux arch/x86/kernel/cpu/vmware.c). */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import { type Backdoor, type Command, low, REFUSED } from './backdoor.ts';

const VMWARE_CMD_STEALCLOCK = 91;
/** In place of an address: no record any more. */
const STEALCLOCK_DISABLE = 1;
const STEALCLOCK_DISABLED = 0;
const STEALCLOCK_ENABLED = 1;
/** struct vmware_steal_time: the clock, in ticks of the TSC, and 56 bytes reserved; aligned to its size. */
const STEAL_TIME_SIZE = 64;

export function createTime(context: HypervisorContext, backdoor: Backdoor): Group<'time'> {
  const { memory } = context;
  const states = perProcessor(context, 'vmware/steal-clock', 1, () => ({
    /** Guest-physical address of the record; undefined: there is none. */
    record: undefined as number | undefined,
  }));

  const stealClock: Command = {
    name: 'VMWARE_CMD_STEALCLOCK',
    arguments: ['unused', 'address_high', 'address_low'],
    status: 'done',
    run(cpu) {
      // It makes the hypervisor write to memory: not for programs.
      if (cpu.cpl > 0) return REFUSED;
      const state = states[cpu.id];
      const address = low(cpu, 'rsi') * 2 ** 32 + low(cpu, 'rdi');
      if (address === STEALCLOCK_DISABLE) {
        state.record = undefined;
        return STEALCLOCK_DISABLED;
      }
      if (address % STEAL_TIME_SIZE !== 0 || !memory.has(address, STEAL_TIME_SIZE)) return REFUSED;
      state.record = address;
      return STEALCLOCK_ENABLED;
    },
  };

  return {
    hypercalls: backdoor.serve({ [VMWARE_CMD_STEALCLOCK]: stealClock }),
    resumed(cpu, nanoseconds) {
      const { record } = states[cpu.id];
      // A processor that waits to be started wants nothing.
      if (record === undefined || !cpu.started) return;
      const ticks = BigInt(Math.floor((nanoseconds * cpu.tsc.frequency) / 1e9));
      memory.write64(record, BigInt.asUintN(64, memory.read64(record) + ticks));
    },
  };
}
