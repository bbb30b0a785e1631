/** Several processors: what their records say while others have the turn, and what an INIT leaves of them. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import type { StealTime } from './steal-time.ts';

/** What is kept for each processor, and not after an INIT: the guest may use its memory for something else. */
interface Forgets {
  forget(cpu: Processor): void;
}

export function createSmp(_context: HypervisorContext, stealTime: StealTime, kept: readonly Forgets[]): Group<'smp'> {
  return {
    scheduledIn: stealTime.resume,
    scheduledOut(cpu) {
      // As KVM since 6.0: a processor that has halted by itself has not been preempted.
      if (!cpu.halted) stealTime.preempt(cpu);
    },
    startUp(cpu) {
      for (const each of kept) each.forget(cpu);
      return false;
    },
  };
}
