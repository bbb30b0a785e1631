/** How a processor starts: what a loader hands back, or a guest asks for, and how the processor is brought there. */
import type { Processor, RegisterName, Segment, SegmentName } from '../paravirt/processor.ts';

export interface EntryState {
  /** Registers that are not zero. `flags` without bit 1 is completed by the machine. */
  registers: Partial<Record<RegisterName, bigint>>;
  /** Segment registers with their hidden parts; those left out are null. */
  segments: Partial<Record<SegmentName, Segment>>;
}

/** EFER and CR4 come before CR0, so that paging is turned on in one step. */
const CONTROL_FIRST: readonly RegisterName[] = ['efer', 'cr4', 'cr3', 'cr0'];

/** Sets a processor's registers as a loader wants them. CS comes after the other segments: it decides the mode. */
export function enter(processor: Processor, { registers, segments }: EntryState): void {
  const set = (name: RegisterName) => {
    const value = registers[name];
    if (value !== undefined) processor.set(name, value);
  };
  CONTROL_FIRST.forEach(set);
  for (const name of Object.keys(segments) as SegmentName[])
    if (name !== 'cs') processor.setSegment(name, segments[name]!);
  if (segments.cs) processor.setSegment('cs', segments.cs);
  for (const name of Object.keys(registers) as RegisterName[]) if (!CONTROL_FIRST.includes(name)) set(name);
}
