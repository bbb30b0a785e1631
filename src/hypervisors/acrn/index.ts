/** ACRN as far as a kernel asks for its name: bare hardware that says who it is (Linux arch/x86/kernel/cpu/acrn.c). */
import { derive } from '../../paravirt/derive.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { bareTable } from '../bare/index.ts';
import { createCpu } from './cpu.ts';

const name = 'acrn';
const title = 'ACRN: its name alone';

export const acrn: HypervisorModule = {
  name,
  title,
  make: (context, base = bareTable) =>
    derive(base, {
      name,
      title,
      cpu: createCpu(context),
    }),
};
