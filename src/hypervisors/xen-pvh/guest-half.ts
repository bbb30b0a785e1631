/** Linux's half of Xen's interface for guests with hardware page tables (arch/x86/xen/enlighten_hvm.c, time.c). */
import * as assert from '../../conformance/assert.ts';
import type { Fixture } from '../../conformance/fixture.ts';
import type { GuestHalf } from '../../conformance/guest-half.ts';
import { readPvclock } from '../../conformance/read-pvclock.ts';

const HYPERVISOR_memory_op = 12n;
const XENMEM_add_to_physmap = 7n;
const DOMID_SELF = 0x7ff0;
/** Pages of the guest's own: for arguments, and for what Xen shares with it. */
const ARGUMENTS = 0x2000;
const SHARED_INFO = 0x5000;
/** Offsets in struct shared_info (xen/include/public/xen.h): vcpu_info[0].time, the next one's, and wc_version. */
const TIME = 32;
const VCPU_INFO_SIZE = 64;
const WALL_CLOCK = 3072;

function mapSharedInfo({ table, cpu }: Fixture): void {
  const { memory } = cpu;
  memory.fill(ARGUMENTS, 32);
  memory.write16(ARGUMENTS, DOMID_SELF); // struct xen_add_to_physmap: domid, size, space, idx, gpfn
  memory.write64(ARGUMENTS + 16, BigInt(SHARED_INFO >> 12));
  cpu.set('rax', HYPERVISOR_memory_op);
  cpu.set('rdi', XENMEM_add_to_physmap);
  cpu.set('rsi', BigInt(ARGUMENTS));
  const { hypercall } = table.cpu;
  assert.ok(typeof hypercall === 'function');
  hypercall(cpu);
  assert.equal(cpu.get('rax'), 0n);
}

export const xenPvhHalf: GuestHalf = {
  clock(fixture) {
    mapSharedInfo(fixture);
    const { id, memory, tsc } = fixture.cpu;
    return () => readPvclock(memory, SHARED_INFO + VCPU_INFO_SIZE * id + TIME, tsc.read());
  },
  wallClock(fixture) {
    mapSharedInfo(fixture);
    const { memory } = fixture.cpu;
    const seconds = BigInt(memory.read32(SHARED_INFO + WALL_CLOCK + 4));
    return seconds * 1_000_000_000n + BigInt(memory.read32(SHARED_INFO + WALL_CLOCK + 8));
  },
};
