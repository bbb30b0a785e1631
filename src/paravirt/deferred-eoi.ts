/**
 * An end of interrupt that costs no exit. After delivering an interrupt whose end nothing waits for, the hypervisor
 * sets a bit in a word of the guest's; the guest ends the interrupt by clearing it, and writes a register only if it
 * finds it clear. Before the interrupt controller is next asked, what the guest did is caught up on. KVM and Hyper-V
 * have the same, with the word in different places.
 */
import type { HypervisorContext } from './operations.ts';
import { perProcessor } from './per-processor.ts';
import type { Processor } from './processor.ts';

/** Bit 0 of the word: the end may be skipped. */
const MAY_SKIP = 1;

export interface DeferredEoi {
  /** From now on the word is the four bytes at `address`, which are RAM; undefined: none. */
  place(cpu: Processor, address: number | undefined): void;
  /** The processor's interrupt controller has been reset: there is no word, and nothing to end. */
  forget(cpu: Processor): void;
  /** The ops of the same names in group `irq`. */
  delivered(cpu: Processor): void;
  catchUp(cpu: Processor): void;
}

/** @param name the hypervisor's, for the state. */
export function createDeferredEoi(context: HypervisorContext, name: string): DeferredEoi {
  const { memory } = context;
  const states = perProcessor(context, `${name}/deferred-eoi`, 1, () => ({
    /** Guest-physical; undefined: the guest has not given one. */
    word: undefined as number | undefined,
    /** The bit was set and it is not yet known what the guest made of it. */
    pending: false,
  }));

  /**
   * The guest has ended the interrupt: so do we. It has not: the offer stands while nothing else has come, unless
   * `withdraw`.
   */
  const takeBack = (cpu: Processor, withdraw: boolean): void => {
    const state = states[cpu.id];
    if (!state.pending) return;
    const word = state.word!;
    const flags = memory.read32(word);
    if (flags & MAY_SKIP) {
      if (!withdraw && cpu.interrupts?.canDeferEndOfInterrupt()) return;
      memory.write32(word, (flags & ~MAY_SKIP) >>> 0);
    } else cpu.interrupts?.endOfInterrupt();
    state.pending = false;
  };

  return {
    catchUp: cpu => takeBack(cpu, false),
    place(cpu, address) {
      takeBack(cpu, true);
      states[cpu.id].word = address;
    },
    forget(cpu) {
      Object.assign(states[cpu.id], { word: undefined, pending: false });
    },
    delivered(cpu) {
      const state = states[cpu.id];
      if (state.word === undefined || !cpu.interrupts?.canDeferEndOfInterrupt()) return;
      memory.write32(state.word, (memory.read32(state.word) | MAY_SKIP) >>> 0);
      state.pending = true;
    },
  };
}
