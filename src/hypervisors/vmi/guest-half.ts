/** Linux's half of VMI (arch/x86/kernel/vmi_32.c, vmiclock_32.c), from where the ROM's code has brought it. */
import { vmcall } from '../../conformance/calls.ts';
import type { Fixture } from '../../conformance/fixture.ts';
import type { GuestHalf } from '../../conformance/guest-half.ts';
import { EOI } from '../../devices/apic-registers.ts';
import { LOCAL_APIC_BASE } from '../../devices/local-apic.ts';
import { type CallName, numberOf, VMI_CYCLES_REAL } from './calls.ts';
import { ROM_ADDRESS } from './shared-page.ts';

/** Somewhere in the guest's memory. */
const STACK = 0x8000;
/** Somewhere in the ROM, after a VMCALL. */
const AFTER_VMCALL = ROM_ADDRESS + 0x110;
const NANOSECONDS = 1_000_000_000n;

/** What the ROM's code does with a call: number in EAX, three arguments in EBX, EDX, ECX and the rest on the stack. */
export function callByNumber(
  { table, cpu }: Pick<Fixture, 'table' | 'cpu'>,
  number: bigint,
  values: readonly bigint[],
): bigint {
  const [first = 0n, second = 0n, third = 0n, ...rest] = values.map(value => BigInt.asUintN(32, value));
  cpu.mode = 32;
  cpu.set('rip', BigInt(AFTER_VMCALL));
  cpu.set('rsp', BigInt(STACK));
  for (const index of [0, 1]) cpu.memory.write32(STACK + 8 + 4 * index, Number(rest[index] ?? 0n));
  cpu.set('rax', number);
  cpu.set('rbx', first);
  cpu.set('rdx', second);
  cpu.set('rcx', third);
  vmcall({ table, cpu });
  return (BigInt.asUintN(32, cpu.get('rdx')) << 32n) | BigInt.asUintN(32, cpu.get('rax'));
}

/** One of VMI's calls. @returns EDX:EAX */
export function callRom(
  fixture: Pick<Fixture, 'table' | 'cpu'>,
  name: CallName,
  ...values: (number | bigint)[]
): bigint {
  return callByNumber(fixture, BigInt(numberOf(name)), values.map(BigInt));
}

function uptime(fixture: Fixture): bigint {
  return (callRom(fixture, 'GetCycleCounter', VMI_CYCLES_REAL) * NANOSECONDS) / callRom(fixture, 'GetCycleFrequency');
}

export const vmiHalf: GuestHalf = {
  clock: fixture => () => uptime(fixture),
  wallClock: fixture => callRom(fixture, 'GetWallclockTime') - uptime(fixture),
  interrupts(fixture) {
    const { context, cpu } = fixture;
    context.mmio.map('local-apic', LOCAL_APIC_BASE, 0x1000, {
      read: () => 0,
      write: offset => {
        if (offset === EOI) cpu.interrupts!.endOfInterrupt();
      },
    });
    return () => void callRom(fixture, 'APICWrite', EOI, 0);
  },
  hypercall: (fixture, number, values) => BigInt.asIntN(64, callByNumber(fixture, number, values)),
};
