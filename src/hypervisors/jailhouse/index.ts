/**
 * Jailhouse as a cell besides the root cell sees it: a partition of a PC, with local APICs, an I/O APIC, a UART, a PCI bus and a
 * timer. There is no firmware; the cell's loader says in Linux's boot parameters what ACPI would. What is not the cell's ends it.
 */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createBoot } from './boot.ts';
import { createCpu } from './cpu.ts';
import { guardPorts } from './ports.ts';

const name = 'jailhouse';
const title = 'Jailhouse, a cell: a part of a PC, told of by setup data instead of firmware';

export const jailhouse: HypervisorModule = {
  name,
  title,
  isRelative: true,
  // Debian's kernels are built without.
  guestHalf: { option: 'CONFIG_JAILHOUSE_GUEST', symbols: ['jailhouse_init_platform', 'jailhouse_get_smp_config'] },
  make(context, base = bareTable) {
    guardPorts(context);
    return derive(base, {
      name,
      title,
      boot: createBoot(context),
      cpu: createCpu(context),
    });
  },
};
