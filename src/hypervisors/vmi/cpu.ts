/**
 * The hypervisor's side of the ROM: VMCALL, but only from the ROM's own code and in ring 0. Anywhere else it is what it is on bare
 * hardware, an undefined instruction: VMI shows the guest no hypercalls.
 */
import type { CpuOps, HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { createApicCalls } from './apic.ts';
import { ARGUMENT_REGISTERS, Call, type VmiCallEntry, type VmiCallTable } from './call.ts';
import { type CallName, numberOf, type PrivateCallName } from './calls.ts';
import { descriptorCalls } from './descriptors.ts';
import { createPageTables } from './page-tables.ts';
import { createReturnCalls } from './returns.ts';
import type { Rom } from './rom.ts';
import { ROM_ADDRESS, ROM_SIZE, type SharedPage } from './shared-page.ts';
import { createSmp } from './smp.ts';
import { createTime } from './time.ts';

const VMCALL_LENGTH = 3n;
const UNDEFINED_INSTRUCTION = 6;

/** Whether the instruction before RIP is the ROM's. */
function inRom(cpu: Processor): boolean {
  if (cpu.cpl !== 0 || cpu.mode !== 32) return false;
  const address = cpu.translate(cpu.get('rip') - VMCALL_LENGTH, { execute: true });
  return typeof address === 'number' && address >= ROM_ADDRESS && address < ROM_ADDRESS + ROM_SIZE;
}

const numberIn = (cpu: Processor) => Number(cpu.get('rax') & 0xffffffffn);

export function createCpu(context: HypervisorContext, shared: SharedPage, rom: Rom) {
  const pageTables = createPageTables(context, shared);
  const calls = {
    ...descriptorCalls,
    ...pageTables.entries,
    ...createSmp(context).calls,
    ...createApicCalls(context),
    ...createTime(context).calls,
    ...createReturnCalls(ROM_ADDRESS + rom.labels.get('IRET')!),
    Initialize: {
      name: 'Initialize',
      arguments: [],
      status: 'done',
      run() {
        pageTables.reset();
        return 0;
      },
    },
    Reboot: {
      name: 'Reboot',
      arguments: ['hard'],
      status: 'done',
      run({ cpu }) {
        cpu.request('reset');
        return undefined;
      },
    },
    Shutdown: {
      name: 'Shutdown',
      arguments: [],
      status: 'done',
      run({ cpu }) {
        cpu.request('power-off');
        return undefined;
      },
    },
  } satisfies Partial<Record<CallName | PrivateCallName, VmiCallEntry>>;
  const table: VmiCallTable = Object.fromEntries(
    Object.entries(calls).map(([name, entry]) => [numberOf(name as keyof typeof calls), entry]),
  );

  function hypercall(cpu: Processor): void {
    if (!inRom(cpu)) {
      cpu.set('rip', cpu.get('rip') - VMCALL_LENGTH);
      return cpu.raise({ vector: UNDEFINED_INSTRUCTION });
    }
    const number = numberIn(cpu);
    const entry = table[number];
    if (!entry) return cpu.kill(`VMI call ${number}: the ROM was changed`);
    const result = entry.run(new Call(cpu, entry.name));
    if (result === undefined) return;
    cpu.set('rax', BigInt(result) & 0xffffffffn);
    if (typeof result === 'bigint') cpu.set('rdx', result >> 32n);
  }

  const ops: Partial<CpuOps> = {
    hypercall,
    hypercalls: table,
    convention: {
      number: numberIn,
      registers: () => ARGUMENT_REGISTERS,
    },
  };
  return { ops, pageTables };
}
