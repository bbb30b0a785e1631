/**
 * The pvclock record that KVM and Xen share: how a guest makes nanoseconds of the TSC without asking anybody
 * (Linux Documentation/virt/kvm/x86/msr.rst; Xen public/xen.h, struct vcpu_time_info).
 *
 * time = system_time + ((tsc - tsc_timestamp) << shift) * mul >> 32
 */
import type { GuestMemory } from '../memory/memory.ts';

export const PVCLOCK_SIZE = 32;
/** Offsets of its fields. */
export const PVCLOCK_VERSION = 0;
export const PVCLOCK_TSC_TIMESTAMP = 8;
export const PVCLOCK_SYSTEM_TIME = 16;
export const PVCLOCK_TSC_TO_SYSTEM_MUL = 24;
export const PVCLOCK_TSC_SHIFT = 28;
export const PVCLOCK_FLAGS = 29;
/** Bits of its flags. */
export const PVCLOCK_TSC_STABLE = 1;
export const PVCLOCK_GUEST_STOPPED = 2;

export interface PvclockScale {
  /** tsc_to_system_mul: a 32-bit fraction with its top bit set. */
  mul: number;
  /** tsc_shift: -31 to 31. */
  shift: number;
}

/** The scale for a TSC of `frequency` Hz: shifted, it ticks at more than 1 and at most 2 GHz. */
export function pvclockScale(frequency: number): PvclockScale {
  let shift = 0;
  let hertz = frequency;
  for (; hertz > 2e9; hertz /= 2) shift--;
  for (; hertz <= 1e9; hertz *= 2) shift++;
  return { mul: Math.floor((1e9 * 2 ** 32) / hertz), shift };
}

/** Nanoseconds, as a guest makes them of the record and its TSC. */
export function readPvclock(memory: GuestMemory, address: number, tsc: bigint): bigint {
  const shift = memory.view.getInt8(address + PVCLOCK_TSC_SHIFT);
  const delta = tsc - memory.read64(address + PVCLOCK_TSC_TIMESTAMP);
  const shifted = shift < 0 ? delta >> BigInt(-shift) : delta << BigInt(shift);
  const mul = BigInt(memory.read32(address + PVCLOCK_TSC_TO_SYSTEM_MUL));
  return memory.read64(address + PVCLOCK_SYSTEM_TIME) + ((shifted * mul) >> 32n);
}

/** Writes the record at guest-physical `address`; the version is odd while it is written and even afterwards. */
export function writePvclock(
  memory: GuestMemory,
  address: number,
  record: { tsc: bigint; systemTime: bigint; scale: PvclockScale; flags: number },
): void {
  const version = (memory.read32(address + PVCLOCK_VERSION) | 1) >>> 0;
  memory.write32(address + PVCLOCK_VERSION, version);
  memory.write64(address + PVCLOCK_TSC_TIMESTAMP, record.tsc);
  memory.write64(address + PVCLOCK_SYSTEM_TIME, record.systemTime);
  memory.write32(address + PVCLOCK_TSC_TO_SYSTEM_MUL, record.scale.mul);
  memory.write8(address + PVCLOCK_TSC_SHIFT, record.scale.shift & 0xff);
  memory.write8(address + PVCLOCK_FLAGS, record.flags);
  memory.write32(address + PVCLOCK_VERSION, (version + 1) >>> 0);
}
