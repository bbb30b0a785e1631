/** The ROM in its socket: in the guest's memory before anything runs, where memory maps offer no RAM, with its page behind it. */
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { Calls } from './call.ts';
import { buildRom, type Rom } from './rom.ts';
import { ROM_ADDRESS, ROM_SIZE, SharedPage } from './shared-page.ts';

/** What the groups share. */
export interface PluggedRom {
  readonly labels: Rom['labels'];
  readonly shared: SharedPage;
  readonly calls: Calls;
}

export function plugRom({ memory }: HypervisorContext): PluggedRom {
  const { bytes, labels } = buildRom();
  const shared = new SharedPage(memory);
  if (memory.has(ROM_ADDRESS, 2 * ROM_SIZE)) {
    memory.copyIn(ROM_ADDRESS, bytes);
    shared.clear();
  }
  return { labels, shared, calls: new Calls() };
}
