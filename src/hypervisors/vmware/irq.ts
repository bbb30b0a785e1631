/**
 * What works under VMware in spite of the privilege level: the backdoor's port from programs, whatever IOPL says, and
 * RDPMC of counters that no processor has ("Timekeeping in VMware Virtual Machines", pseudo performance counters). Both
 * arrive as the general-protection fault that they are to the processor.
 */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { RF } from '../../x86/flags.ts';
import * as vectors from '../../x86/vectors.ts';
import { type Backdoor, low, VMWARE_HYPERVISOR_PORT } from './backdoor.ts';

const IN_EAX_DX = 0xed;
const RDPMC = [0x0f, 0x33];

/**
 * Pseudo performance counters, by ECX: the host's TSC, for which we give the guest's; real time, and apparent time, in
 * ns.
 */
const PSEUDO_COUNTERS: Readonly<Record<number, (cpu: Processor) => bigint>> = {
  65536: cpu => cpu.tsc.read(),
  65537: cpu => BigInt(Math.floor(cpu.clock.now())),
  65538: cpu => BigInt(Math.floor(cpu.clock.now())),
};

/** Up to two bytes at RIP; fewer where the second page is not there. */
function instructionBytes(cpu: Processor): Uint8Array | undefined {
  const rip = cpu.get('rip');
  const linear = cpu.mode === 64 ? rip : BigInt.asUintN(32, cpu.segment('cs').base + rip);
  const access = { user: cpu.cpl === 3 };
  return cpu.read(linear, RDPMC.length, access) ?? cpu.read(linear, 1, access);
}

/**
 * Goes on after an instruction that was done for the guest. RF is for an instruction that is tried again, so it goes.
 */
function finish(cpu: Processor, length: number): true {
  const rip = cpu.get('rip') + BigInt(length);
  cpu.set('rip', cpu.mode === 64 ? rip : BigInt.asUintN(32, rip));
  cpu.set('flags', cpu.get('flags') & ~BigInt(RF));
  return true;
}

export function createIrq(_context: HypervisorContext, backdoor: Backdoor): Group<'irq'> {
  return {
    exception(cpu, { vector, code }) {
      if (vector !== vectors.GP || code || cpu.mode === 16) return false;
      const bytes = instructionBytes(cpu);
      if (bytes?.[0] === IN_EAX_DX && (low(cpu, 'rdx') & 0xffff) === VMWARE_HYPERVISOR_PORT) {
        const result = backdoor.call(cpu);
        if (result === undefined) return false;
        cpu.set('rax', BigInt(result));
        return finish(cpu, 1);
      }
      const counter = PSEUDO_COUNTERS[low(cpu, 'rcx')];
      if (counter && RDPMC.every((byte, index) => bytes?.[index] === byte)) {
        const value = counter(cpu);
        cpu.set('rax', BigInt.asUintN(32, value));
        cpu.set('rdx', BigInt.asUintN(32, value >> 32n));
        return finish(cpu, RDPMC.length);
      }
      return false;
    },
  };
}
