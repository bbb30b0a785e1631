/** Memory under VMI: the page-table calls, and page faults on entries that wait in the queue of lazy mode. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { createPageTables } from './page-tables.ts';
import type { PluggedRom } from './plugged-rom.ts';

export function createMmu(context: HypervisorContext, { calls, shared }: PluggedRom): Group<'mmu'> {
  const pageTables = createPageTables(context, shared);
  return {
    hypercalls: calls.serve({
      ...pageTables.entries,
      Initialize: {
        name: 'Initialize',
        arguments: [],
        status: 'done',
        run() {
          pageTables.reset();
          return 0;
        },
      },
    }),
    // An entry that is missing may be one that waits in the queue.
    pageFault: () => pageTables.applyDeferred(undefined),
  };
}
