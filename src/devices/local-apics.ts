/** The local APICs of all processors, and the place in memory where each processor sees its own. */
import type { BusHandler } from '../memory/bus.ts';
import type { ApicBus } from './apic-bus.ts';
import type { TimeStampCounter } from './apic-timer.ts';
import type { Slot } from './device.ts';
import { LocalApic } from './local-apic.ts';
import type { ExternalInterrupts } from './pic-8259.ts';

const REGISTERS = 0x1000;

/** A board without 8259s. */
export const NO_INTERRUPTS: ExternalInterrupts = { output: false, acknowledge: () => -1 };

export interface LocalApicsOptions {
  slot: Slot;
  bus: ApicBus;
  /** One for each processor. As many local APICs are made. */
  tscs: readonly TimeStampCounter[];
  /** Default: 0, 1, 2 … */
  apicIds?: readonly number[] | undefined;
  external: ExternalInterrupts;
  /** The width of physical addresses that CPUID reports. */
  physicalAddressBits?: number;
}

/**
 * Makes the local APICs, in the order of the processors, and maps them: a processor finds its own. The bootstrap processor's
 * moving its own moves the mapping; the others are expected to have theirs at the same address, as every operating
 * system has.
 */
export function createLocalApics(options: LocalApicsOptions): readonly LocalApic[] {
  const { slot, bus, tscs, apicIds, external, physicalAddressBits } = options;
  const { clock, log } = slot;
  const all: LocalApic[] = [];
  for (const [index, tsc] of tscs.entries()) {
    const id = apicIds?.[index] ?? index;
    all.push(new LocalApic({ id, states: slot, clock, tsc, bus, external, log, physicalAddressBits }));
  }
  const own: BusHandler = {
    read: (offset, width, from) => all[from.id].read(offset, width),
    write: (offset, width, value, from) => all[from.id].write(offset, width, value),
  };
  const bootstrap = all[0];
  /** The mapping follows from the bootstrap processor's IA32_APIC_BASE. */
  const mapping = { remove: () => {} };
  const unmap = () => {
    mapping.remove();
    mapping.remove = () => {};
  };
  const map = () => {
    if (bootstrap.page !== undefined) mapping.remove = slot.mmio('local-apic', bootstrap.page, REGISTERS, own);
  };
  map();
  bootstrap.onMove = () => {
    unmap();
    try {
      map();
    } catch {
      slot.kill(`the local APIC was moved to 0x${bootstrap.page?.toString(16)}, on top of another device`);
    }
  };
  bootstrap.onRestoring = unmap;
  bootstrap.onRestored = map;
  return all;
}
