/** Interrupts under VMI are the local APIC's; the ROM's calls reach its registers. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { createApicCalls } from './apic.ts';
import type { PluggedRom } from './plugged-rom.ts';

export function createIrq(context: HypervisorContext, { calls }: PluggedRom): Group<'irq'> {
  return { hypercalls: calls.serve(createApicCalls(context)) };
}
