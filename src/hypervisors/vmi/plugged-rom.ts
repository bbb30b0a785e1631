/**
 * The ROM in its socket: put into the guest's memory before anything runs, at an address that memory maps do not offer as
 * RAM. The page that it shares with the hypervisor follows it.
 */
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
