/** Bare hardware: the table before anybody changed it. */
import { natively } from '../../paravirt/operation.ts';
import { type HypervisorModule, operations, type Paravirt } from '../../paravirt/operations.ts';
import { MOST_CPUS } from '../../x86/topology.ts';

export const bareTable: Paravirt = {
  name: 'bare',
  title: 'bare hardware: a PC with nothing underneath',
  boot: { platform: 'pc', console: 'ttyS0', devices: [], ...natively(operations.boot) },
  cpu: { ...natively(operations.cpu), msrs: {}, hypercalls: {} },
  mmu: natively(operations.mmu),
  irq: natively(operations.irq),
  time: natively(operations.time),
  smp: { maximum: MOST_CPUS, ...natively(operations.smp) },
  skip: {},
};

export const bare: HypervisorModule = { name: bareTable.name, title: bareTable.title, make: () => bareTable };
