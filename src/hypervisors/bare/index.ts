/** Bare hardware: the table before anybody changed it. */
import { native } from '../../paravirt/native.ts';
import type { HypervisorModule, Paravirt } from '../../paravirt/operations.ts';

export const bareTable: Paravirt = {
  name: 'bare',
  title: 'bare hardware: a PC with nothing underneath',
  boot: { platform: 'pc', console: 'ttyS0', refuses: native, load: native },
  cpu: { cpuid: native, msrs: {}, hypercall: native, syscall: native, hypercalls: {} },
  mmu: { pageFault: native, setRoot: native },
  irq: {
    exception: native,
    softwareInterrupt: native,
    deliver: native,
    pending: native,
    halt: native,
    delivered: native,
    settle: native,
  },
  time: { resumed: native },
  smp: { maximum: 1 },
  skip: {},
};

export const bare: HypervisorModule = { name: bareTable.name, title: bareTable.title, make: () => bareTable };
