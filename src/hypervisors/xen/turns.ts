/**
 * Runstates of processors that take turns (public/vcpu.h): without its turn one is runnable or blocked. Linux's spinlocks do not wait
 * for the holder of a lock that is runnable, for it does not execute.
 */
import type { SmpOps } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { RUNSTATE_blocked, RUNSTATE_runnable, RUNSTATE_running } from './constants.ts';
import type { Vcpu } from './domain.ts';

/** @param vcpuOf undefined before there is a domain */
export function createTurns(
  vcpuOf: (cpu: Processor) => Vcpu | undefined,
): Pick<SmpOps, 'scheduledIn' | 'scheduledOut'> {
  return {
    scheduledIn(cpu) {
      vcpuOf(cpu)?.time.setRunstate(RUNSTATE_running);
    },
    scheduledOut(cpu) {
      // One that has been taken off stays off.
      if (cpu.started) vcpuOf(cpu)?.time.setRunstate(cpu.halted ? RUNSTATE_blocked : RUNSTATE_runnable);
    },
  };
}
