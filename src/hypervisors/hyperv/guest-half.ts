/**
 * Linux's half of Hyper-V's interface (arch/x86/hyperv/hv_init.c and hv_apic.c, drivers/clocksource/hyperv_timer.c).
 */
import * as assert from '../../conformance/assert.ts';
import { vmcall } from '../../conformance/calls.ts';
import type { Fixture } from '../../conformance/fixture.ts';
import type { GuestHalf } from '../../conformance/guest-half.ts';

const HV_X64_MSR_GUEST_OS_ID = 0x40000000;
const HV_X64_MSR_HYPERCALL = 0x40000001;
const HV_X64_MSR_REFERENCE_TSC = 0x40000021;
const HV_X64_MSR_EOI = 0x40000070;
const HV_X64_MSR_VP_ASSIST_PAGE = 0x40000073;
const HvCallSendSyntheticClusterIpi = 0x000bn;
const FAST = 1n << 16n;
/** Somewhere in the guest's memory. */
const TSC_PAGE = 0x3000;
const ASSIST_PAGE = 0x4000;
const HYPERCALL_PAGE = 0x5000;

function writeMsr({ table, cpu }: Fixture, index: number, value: bigint): void {
  assert.ok(table.cpu.msrs[index].write!(cpu, value), `WRMSR 0x${index.toString(16)}`);
}

/** A hypercall of 64-bit code. @returns the result */
function call(fixture: Fixture, value: bigint, first: bigint, second: bigint): bigint {
  const { cpu } = fixture;
  cpu.set('cr0', cpu.get('cr0') | 1n);
  writeMsr(fixture, HV_X64_MSR_GUEST_OS_ID, 0x8100_0000_0000_0000n);
  writeMsr(fixture, HV_X64_MSR_HYPERCALL, BigInt(HYPERCALL_PAGE) | 1n);
  cpu.set('rcx', value);
  cpu.set('rdx', first);
  cpu.set('r8', second);
  vmcall(fixture);
  return cpu.get('rax');
}

export const hypervHalf: GuestHalf = {
  resolution: 100,
  clock(fixture) {
    writeMsr(fixture, HV_X64_MSR_REFERENCE_TSC, BigInt(TSC_PAGE) | 1n);
    const { memory, tsc } = fixture.cpu;
    return () => {
      assert.notEqual(memory.read32(TSC_PAGE), 0, 'the page is valid');
      const scale = memory.read64(TSC_PAGE + 8);
      const offset = BigInt.asIntN(64, memory.read64(TSC_PAGE + 16));
      return (((tsc.read() * scale) >> 64n) + offset) * 100n;
    };
  },
  interrupts(fixture) {
    writeMsr(fixture, HV_X64_MSR_VP_ASSIST_PAGE, BigInt(ASSIST_PAGE) | 1n);
    const { memory } = fixture.cpu;
    return () => {
      const word = memory.read32(ASSIST_PAGE);
      memory.write32(ASSIST_PAGE, 0);
      if (!(word & 1)) writeMsr(fixture, HV_X64_MSR_EOI, 0n);
    };
  },
  sendIpi(fixture, targets, vector) {
    const mask = targets.reduce((bits, target) => bits | (1n << BigInt(target)), 0n);
    assert.equal(call(fixture, HvCallSendSyntheticClusterIpi | FAST, BigInt(vector), mask), 0n);
  },
  hypercall: (fixture, number, [input = 0n, output = 0n] = []) => -(call(fixture, number, input, output) & 0xffffn),
};
