/**
 * Paravirtual unhalt (Documentation/virt/kvm/x86/hypercalls.rst, KVM_HC_KICK_CPU): a processor that waits for a lock halts,
 * perhaps with interrupts off, until the lock's holder kicks it. A kick that comes before the halt ends it at once.
 */
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';

export interface Unhalt {
  kick(target: Processor): void;
  /** HLT. */
  halt(cpu: Processor): void;
  /** INIT: kicks are forgotten. */
  forget(cpu: Processor): void;
}

export function createUnhalt(context: HypervisorContext): Unhalt {
  const states = perProcessor(context, 'kvm/unhalt', 1, () => ({ kicked: false }));
  return {
    kick(target) {
      if (!target.started) return;
      if (target.halted) target.wake();
      else states[target.id].kicked = true;
    },
    halt(cpu) {
      const state = states[cpu.id];
      if (state.kicked) state.kicked = false;
      else cpu.halt();
    },
    forget({ id }) {
      states[id].kicked = false;
    },
  };
}
