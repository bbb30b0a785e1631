/** How a guest reads a pvclock record (Linux Documentation/virt/kvm/x86/msr.rst, under MSR_KVM_SYSTEM_TIME_NEW). */

import type { GuestMemory } from '../memory/memory.ts';
import { readPvclock as readRecord } from '../paravirt/pvclock.ts';
import * as assert from './assert.ts';

export function readPvclock(memory: GuestMemory, address: number, tsc: bigint): bigint {
  assert.equal(memory.read32(address) % 2, 0, 'the version is even when nobody writes');
  assert.notEqual(memory.read32(address + 24), 0, 'a guest divides by it');
  return readRecord(memory, address, tsc);
}
