/**
 * Debug registers of a PV guest (HYPERVISOR_set_debugreg, HYPERVISOR_get_debugreg, MOV to and from DR). SDM 3B 17.2.
 */
import type { RegisterName } from '../../paravirt/processor.ts';
import { CR4_DE, DR6_FIXED, DR7_FIXED, DR7_GD } from '../../x86/control.ts';
import { EINVAL, ENODEV, EPERM } from '../xen/constants.ts';
import type { PvVcpu } from './pv-vcpu.ts';

const DE = BigInt(CR4_DE);
/** Bits that always read as one and those that always read as zero. */
const DR6_ONES = BigInt(DR6_FIXED);
const DR6_ZEROS = 0x1000n;
const DR7_ONES = BigInt(DR7_FIXED);
const DR7_ZEROS = 0xd800n;
/** General detect: would trap the hypervisor's own accesses. */
const GD = BigInt(DR7_GD);

const ADDRESSES: readonly RegisterName[] = ['dr0', 'dr1', 'dr2', 'dr3'];

/** 4 and 5 are other names of 6 and 7 until CR4.DE takes them away. */
function alias(v: PvVcpu, number: number): number | undefined {
  if (number !== 4 && number !== 5) return number;
  return v.state.cr4 & DE ? undefined : number + 2;
}

/** @returns 0 or -errno. */
export function setDebugRegister(v: PvVcpu, number: number, value: bigint): number {
  const { cpu } = v;
  const register = alias(v, number);
  if (register === undefined || register < 0 || register > 7) return -ENODEV;
  if (register < 4) {
    if (!v.abi.isGuestAddress(value)) return -EPERM;
    cpu.set(ADDRESSES[register], value);
    return 0;
  }
  if (value >> 32n) return -EINVAL;
  if (register === 6) {
    cpu.set('dr6', (value | DR6_ONES) & ~DR6_ZEROS);
    return 0;
  }
  if (value & GD) return -EPERM;
  // I/O breakpoints (type 2) need CR4.DE; without it they are undefined, and refused.
  for (let i = 0; i < 4; i++) if (((value >> BigInt(16 + 4 * i)) & 3n) === 2n && !(v.state.cr4 & DE)) return -EPERM;
  cpu.set('dr7', (value | DR7_ONES) & ~DR7_ZEROS);
  return 0;
}

/** Undefined: no such register. */
export function getDebugRegister(v: PvVcpu, number: number): bigint | undefined {
  const register = alias(v, number);
  if (register === undefined) return undefined;
  if (register >= 0 && register < 4) return v.cpu.get(ADDRESSES[register]);
  return register === 6 ? v.cpu.get('dr6') : register === 7 ? v.cpu.get('dr7') : undefined;
}
