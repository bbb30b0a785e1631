/**
 * Linux's half of Xen's interface for paravirtualized guests (arch/x86/xen/time.c): shared_info is where start_info
 * says.
 */
import type { Fixture } from '../../conformance/fixture.ts';
import type { GuestHalf } from '../../conformance/guest-half.ts';
import { readPvclock } from '../../conformance/read-pvclock.ts';

/**
 * Where the tiny kernel sees guest-physical address 0, and struct start_info's shared_info (xen/include/public/xen.h).
 */
const VIRTUAL_BASE = 0xffffffff80000000n;
const SHARED_INFO = 0x28;
/** Offsets in struct shared_info: vcpu_info[0].time, the next one's, and wc_version. */
const TIME = 32;
const VCPU_INFO_SIZE = 64;
const WALL_CLOCK = 3072;

/** The machine address of shared_info, from start_info, to which RSI of the first processor points at the start. */
function sharedInfo({ cpus: [cpu] }: Fixture): number {
  const startInfo = Number(cpu.get('rsi') - VIRTUAL_BASE);
  return Number(cpu.memory.read64(startInfo + SHARED_INFO));
}

export const xenPvHalf: GuestHalf = {
  clock(fixture) {
    const { id, memory, tsc } = fixture.cpu;
    const record = sharedInfo(fixture) + VCPU_INFO_SIZE * id + TIME;
    return () => readPvclock(memory, record, tsc.read());
  },
  settingTsc: 'Xen lets no paravirtualized guest set it',
  wallClock(fixture) {
    const at = sharedInfo(fixture) + WALL_CLOCK;
    const { memory } = fixture.cpu;
    return BigInt(memory.read32(at + 4)) * 1_000_000_000n + BigInt(memory.read32(at + 8));
  },
};
