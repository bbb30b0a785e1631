/** How a guest reads a pvclock record (Linux Documentation/virt/kvm/x86/msr.rst, under MSR_KVM_SYSTEM_TIME_NEW). */

import type { GuestMemory } from '../memory/memory.ts';
import * as assert from './assert.ts';

export function readPvclock(memory: GuestMemory, address: number, tsc: bigint): bigint {
  assert.equal(memory.read32(address) % 2, 0, 'the version is even when nobody writes');
  const shift = memory.view.getInt8(address + 28);
  const mul = BigInt(memory.read32(address + 24));
  assert.notEqual(mul, 0n, 'a guest divides by it');
  const delta = tsc - memory.read64(address + 8);
  const shifted = shift < 0 ? delta >> BigInt(-shift) : delta << BigInt(shift);
  return memory.read64(address + 16) + ((shifted * mul) >> 32n);
}
