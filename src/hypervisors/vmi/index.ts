/**
 * VMI, VMware's Virtual Machine Interface as Linux 2.6.21 to 2.6.36 knew it on i386: no leaf, no register and no hypercall, but
 * a ROM. The kernel finds it at boot and lets its own calls be relocated into it; what the ROM does is nobody's business.
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createCpu } from './cpu.ts';
import { buildRom } from './rom.ts';
import { ROM_ADDRESS, ROM_SIZE, SharedPage } from './shared-page.ts';

const name = 'vmi';
const title = 'VMI: an interface that is a ROM, for i386 Linux 2.6.21 to 2.6.36';

export const vmi: HypervisorModule = {
  name,
  title,
  guestHalf: { option: 'CONFIG_VMI', symbols: ['vmi_init', 'vmi_bringup', 'vmi_time_init'] },
  rom: () => buildRom().listing,
  make(context) {
    const { memory } = context;
    const shared = new SharedPage(memory);
    const rom = buildRom();
    // In its socket before anything runs. Memory maps offer none of this space as RAM.
    if (memory.has(ROM_ADDRESS, 2 * ROM_SIZE)) {
      memory.copyIn(ROM_ADDRESS, rom.bytes);
      shared.clear();
    }
    const { ops, pageTables } = createCpu(context, shared, rom);
    return derive(bareTable, {
      name,
      title,
      cpu: ops,
      // An entry that is missing may be one that waits in the queue.
      mmu: { pageFault: () => pageTables.applyDeferred(undefined) },
    });
  },
};
