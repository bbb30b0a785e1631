/**
 * The calls for the local APIC's registers: the same chip as in memory, without the detour over a page that has to be
 * mapped.
 */
import { LOCAL_APIC_BASE } from '../../devices/local-apic.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import type { Call, VmiCallEntry } from './call.ts';

/** The specification wants a register's address, Linux passes its offset: the page's part says it either way. */
const OFFSET = 0xff0;

export function readApic({ mmio }: HypervisorContext, cpu: Processor, offset: number): number {
  return mmio.read(LOCAL_APIC_BASE + offset, 4, cpu);
}

export function createApicCalls(context: HypervisorContext) {
  return {
    APICWrite: {
      name: 'APICWrite',
      arguments: ['register', 'value'],
      status: 'done',
      run({ cpu, eax, edx }: Call) {
        context.mmio.write(LOCAL_APIC_BASE + (eax & OFFSET), 4, edx, cpu);
        return undefined;
      },
    },
    APICRead: {
      name: 'APICRead',
      arguments: ['register'],
      status: 'done',
      run: ({ cpu, eax }: Call) => readApic(context, cpu, eax & OFFSET),
    },
  } satisfies Record<string, VmiCallEntry>;
}
