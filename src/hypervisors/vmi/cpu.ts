/**
 * The hypervisor's side of the ROM: VMCALL, but only from the ROM's own code and in ring 0. Anywhere else it is what it
 * is on bare hardware, an undefined instruction: VMI shows the guest no hypercalls.
 */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { ARGUMENT_REGISTERS, Call } from './call.ts';
import { descriptorCalls } from './descriptors.ts';
import type { PluggedRom } from './plugged-rom.ts';
import { createReturnCalls } from './returns.ts';
import { ROM_ADDRESS, ROM_SIZE } from './shared-page.ts';

/** Bytes of VMCALL and VMMCALL. */
const VMCALL_LENGTH = 3n;

/** Whether the instruction before RIP is the ROM's. */
function inRom(cpu: Processor): boolean {
  if (cpu.cpl !== 0 || cpu.mode !== 32) return false;
  const address = cpu.translate(cpu.get('rip') - VMCALL_LENGTH, { execute: true });
  return typeof address === 'number' && address >= ROM_ADDRESS && address < ROM_ADDRESS + ROM_SIZE;
}

const numberIn = (cpu: Processor) => Number(cpu.get('rax') & 0xffffffffn);

export function createCpu(_context: HypervisorContext, { calls, labels }: PluggedRom): Group<'cpu'> {
  const hypercalls = calls.serve({
    ...descriptorCalls,
    ...createReturnCalls(ROM_ADDRESS + labels.get('IRET')!),
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
  });

  function hypercall(cpu: Processor): boolean {
    if (!inRom(cpu)) return false;
    const number = numberIn(cpu);
    const entry = calls.find(number);
    if (!entry) {
      cpu.kill(`VMI call ${number}: the ROM was changed`);
      return true;
    }
    const result = entry.run(new Call(cpu, entry.name));
    if (result === undefined) return true;
    cpu.set('rax', BigInt(result) & 0xffffffffn);
    if (typeof result === 'bigint') cpu.set('rdx', result >> 32n);
    return true;
  }

  return { hypercall, hypercalls, convention: { number: numberIn, registers: () => ARGUMENT_REGISTERS } };
}
