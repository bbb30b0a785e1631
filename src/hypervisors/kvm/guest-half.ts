/** Linux's half of KVM's interface (arch/x86/kernel/kvmclock.c and kvm.c do the same). */
import * as assert from '../../conformance/assert.ts';
import { hypercall } from '../../conformance/calls.ts';
import type { Fixture } from '../../conformance/fixture.ts';
import type { GuestHalf } from '../../conformance/guest-half.ts';
import { readPvclock } from '../../conformance/read-pvclock.ts';

const MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00;
const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;
const MSR_KVM_PV_EOI_EN = 0x4b564d04;
const KVM_HC_SEND_IPI = 10n;
/** A processor's record. */
const RECORD_SIZE = 64;
/** Somewhere in the guest's memory. */
const RECORD = 0x3000;
const EOI_WORD = 0x4000;

function writeMsr({ table, cpu }: Fixture, index: number, value: bigint): void {
  assert.ok(table.cpu.msrs[index].write!(cpu, value), `WRMSR 0x${index.toString(16)}`);
}

export const kvmHalf: GuestHalf = {
  clock(fixture) {
    const record = RECORD + RECORD_SIZE * fixture.cpu.id;
    writeMsr(fixture, MSR_KVM_SYSTEM_TIME_NEW, BigInt(record) | 1n);
    return () => readPvclock(fixture.cpu.memory, record, fixture.cpu.tsc.read());
  },
  wallClock(fixture) {
    writeMsr(fixture, MSR_KVM_WALL_CLOCK_NEW, BigInt(RECORD));
    const { memory } = fixture.cpu;
    assert.equal(memory.read32(RECORD) % 2, 0);
    return BigInt(memory.read32(RECORD + 4)) * 1_000_000_000n + BigInt(memory.read32(RECORD + 8));
  },
  sendIpi(fixture, targets, vector) {
    const bitmap = targets.reduce((bits, target) => bits | (1n << BigInt(target)), 0n);
    assert.equal(hypercall(fixture, KVM_HC_SEND_IPI, [bitmap, 0n, 0n, BigInt(vector)]), BigInt(targets.length));
  },
  interrupts(fixture) {
    writeMsr(fixture, MSR_KVM_PV_EOI_EN, BigInt(EOI_WORD) | 1n);
    const { cpu } = fixture;
    return () => {
      const word = cpu.memory.read32(EOI_WORD);
      if (word & 1) cpu.memory.write32(EOI_WORD, word & ~1);
      else cpu.interrupts!.endOfInterrupt();
    };
  },
};
