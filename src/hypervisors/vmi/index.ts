/**
 * VMI, VMware's Virtual Machine Interface as Linux 2.6.21 to 2.6.36 knew it on i386: no leaf, no register and no
 * hypercall, but a ROM. The kernel finds it at boot and has its own calls relocated into it.
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createCpu } from './cpu.ts';
import { createIrq } from './irq.ts';
import { createMmu } from './mmu.ts';
import { plugRom } from './plugged-rom.ts';
import { buildRom } from './rom.ts';
import { createSmp } from './smp.ts';
import { createTime } from './time.ts';

const name = 'vmi';
const title = 'VMI: an interface that is a ROM, for i386 Linux 2.6.21 to 2.6.36';

export const vmi: HypervisorModule = {
  name,
  title,
  guestHalf: { option: 'CONFIG_VMI', symbols: ['vmi_init', 'vmi_bringup', 'vmi_time_init'] },
  rom: () => buildRom().listing,
  make(context, base = bareTable) {
    const rom = plugRom(context);
    return derive(base, {
      name,
      title,
      cpu: createCpu(context, rom),
      mmu: createMmu(context, rom),
      irq: createIrq(context, rom),
      time: createTime(context, rom),
      smp: createSmp(context, rom),
    });
  },
};
