/** How the first processor starts: what a loader hands back and the machine applies to the processor. */
import type { RegisterName, Segment, SegmentName } from '../paravirt/processor.ts';

export interface EntryState {
  /** Registers that are not zero. `flags` without bit 1 is completed by the machine. */
  registers: Partial<Record<RegisterName, bigint>>;
  /** Segment registers with their hidden parts; those left out are null. */
  segments: Partial<Record<SegmentName, Segment>>;
}
