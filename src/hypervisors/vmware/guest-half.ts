/**
 * Linux's half of VMware's interface (arch/x86/kernel/cpu/vmware.c): the TSC, at the frequency that the backdoor tells.
 */
import { vmcall } from '../../conformance/calls.ts';
import type { Fixture } from '../../conformance/fixture.ts';
import type { GuestHalf } from '../../conformance/guest-half.ts';
import { bareHalf } from '../bare/guest-half.ts';

const VMWARE_HYPERVISOR_MAGIC = 0x564d5868n;
const VMWARE_CMD_GETHZ = 45n;

/** A command by VMMCALL. @returns EAX as a signed number. */
function call(fixture: Fixture, command: bigint, values: readonly bigint[] = []): bigint {
  const { cpu } = fixture;
  const [rbx = 0xffffffffn, rsi = 0n, rdi = 0n] = values;
  for (const [register, value] of Object.entries({
    rax: VMWARE_HYPERVISOR_MAGIC,
    rcx: command,
    rbx,
    rdx: 0n,
    rsi,
    rdi,
  }))
    cpu.set(register as 'rax', value);
  vmcall(fixture);
  return BigInt.asIntN(32, cpu.get('rax'));
}

export const vmwareHalf: GuestHalf = {
  clock(fixture) {
    const { cpu } = fixture;
    const low = BigInt.asUintN(32, call(fixture, VMWARE_CMD_GETHZ));
    const frequency = (cpu.get('rbx') << 32n) | low;
    return () => (cpu.tsc.read() * 1_000_000_000n) / frequency;
  },
  settingTsc: bareHalf.settingTsc,
  interrupts: bareHalf.interrupts,
  hypercall: call,
};
