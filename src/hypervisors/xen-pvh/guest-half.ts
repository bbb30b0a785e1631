/** Linux's half of Xen's interface for guests with hardware page tables (arch/x86/xen/enlighten_hvm.c, time.c). */
import * as assert from '../../conformance/assert.ts';
import type { Fixture } from '../../conformance/fixture.ts';
import type { GuestHalf } from '../../conformance/guest-half.ts';
import { readPvclock } from '../../conformance/read-pvclock.ts';

const HYPERVISOR_memory_op = 12n;
const HYPERVISOR_event_channel_op = 32n;
const HYPERVISOR_hvm_op = 34n;
const XENMEM_add_to_physmap = 7n;
const EVTCHNOP_close = 3n;
const EVTCHNOP_send = 4n;
const EVTCHNOP_bind_ipi = 7n;
const HVMOP_set_evtchn_upcall_vector = 23n;
const DOMID_SELF = 0x7ff0;
/** Pages of the guest's own: for arguments, and for what Xen shares with it. */
const ARGUMENTS = 0x2000;
const SHARED_INFO = 0x5000;
/** Offsets in struct shared_info (xen/include/public/xen.h): vcpu_info[0].time, the next one's, and wc_version. */
const TIME = 32;
const VCPU_INFO_SIZE = 64;
/** Within a vcpu_info: which words of the ports' bits have one set. */
const PENDING_SEL = 8;
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

/** Makes a hypercall with a command and a structure of 32-bit words, which stands at ARGUMENTS afterwards, too. */
function operate({ table, cpu }: Fixture, number: bigint, command: bigint, ...words: number[]): void {
  for (const [index, word] of words.entries()) cpu.memory.write32(ARGUMENTS + 4 * index, word);
  cpu.set('rax', number);
  cpu.set('rdi', command);
  cpu.set('rsi', BigInt(ARGUMENTS));
  const { hypercall } = table.cpu;
  assert.ok(typeof hypercall === 'function');
  hypercall(cpu);
  assert.equal(cpu.get('rax'), 0n, `hypercall ${number}, command ${command}`);
}

export const xenPvhHalf: GuestHalf = {
  /** By an event channel for each, bound for the purpose; the targets take their events without delay. */
  sendIpi(fixture, targets, vector) {
    const { memory } = fixture.cpu;
    mapSharedInfo(fixture);
    for (const target of targets) {
      operate(fixture, HYPERVISOR_hvm_op, HVMOP_set_evtchn_upcall_vector, target, vector);
      operate(fixture, HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, target, 0);
      const port = memory.read32(ARGUMENTS + 4);
      operate(fixture, HYPERVISOR_event_channel_op, EVTCHNOP_send, port);
      operate(fixture, HYPERVISOR_event_channel_op, EVTCHNOP_close, port);
      memory.write8(SHARED_INFO + VCPU_INFO_SIZE * target, 0);
      memory.write64(SHARED_INFO + VCPU_INFO_SIZE * target + PENDING_SEL, 0n);
    }
  },
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
