/** The steal clock: time the host took from the guest while it wanted to run (Linux arch/x86/kernel/cpu/vmware.c). */
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { type Command, low, REFUSED } from './backdoor.ts';

const VMWARE_CMD_STEALCLOCK = 91;
/** In place of an address: no record any more. */
const STEALCLOCK_DISABLE = 1;
const STEALCLOCK_DISABLED = 0;
const STEALCLOCK_ENABLED = 1;
/** struct vmware_steal_time: the clock, in ticks of the TSC, and 56 bytes reserved; aligned to its size. */
const STEAL_TIME_SIZE = 64;

export function createStealClock({ memory }: HypervisorContext) {
  const records = new Map<number, number>();

  const STEALCLOCK: Command = {
    name: 'VMWARE_CMD_STEALCLOCK',
    arguments: ['unused', 'address_high', 'address_low'],
    status: 'done',
    run(cpu) {
      // It makes the hypervisor write to memory: not for programs.
      if (cpu.cpl > 0) return REFUSED;
      const address = low(cpu, 'rsi') * 2 ** 32 + low(cpu, 'rdi');
      if (address === STEALCLOCK_DISABLE) {
        records.delete(cpu.id);
        return STEALCLOCK_DISABLED;
      }
      if (address % STEAL_TIME_SIZE !== 0 || !memory.has(address, STEAL_TIME_SIZE)) return REFUSED;
      records.set(cpu.id, address);
      return STEALCLOCK_ENABLED;
    },
  };

  return {
    commands: { [VMWARE_CMD_STEALCLOCK]: STEALCLOCK },
    resumed(cpu: Processor, nanoseconds: number): void {
      const address = records.get(cpu.id);
      if (address === undefined) return;
      const ticks = BigInt(Math.floor((nanoseconds * cpu.tsc.frequency) / 1e9));
      memory.write64(address, BigInt.asUintN(64, memory.read64(address) + ticks));
    },
  };
}
