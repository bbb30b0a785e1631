/** What is asked of a PV guest's processor: CPUID, and SYSCALL, which is a hypercall or a system call. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { convention } from '../xen/hypercall.ts';
import { pvCpuid } from './cpuid.ts';
import { pvHypercalls } from './hypercalls.ts';
import type { PvDomain } from './pv-domain.ts';
import { makeHypercall, syscallToGuest } from './traps.ts';

/** The leaf whose EDX:EAX are the bits that XCR0 may have. */
const CPUID_XSAVE = 0xd;

export function createCpu(_context: HypervisorContext, slot: DomainSlot<PvDomain>): Group<'cpu'> {
  const table = pvHypercalls(() => slot.domain);
  return {
    cpuid(cpu, leaf, subleaf, natively) {
      const answer = pvCpuid(cpu, leaf, subleaf, natively, slot.built?.abi.width !== 32);
      // What XSETBV may set is known only from here. CPUID may be asked before there is a domain.
      const v = leaf === CPUID_XSAVE && subleaf === 0 ? slot.built?.vcpus[cpu.id] : undefined;
      if (v) v.state.xcr0Supported = (BigInt(answer.edx) << 32n) | BigInt(answer.eax);
      return answer;
    },
    syscall(cpu) {
      const pv = slot.domain;
      const v = pv.vcpus[cpu.id]!;
      // From code of 32 bits it is a system call whoever makes it (Xen's cstar_enter).
      if (pv.abi.hypercallVector !== undefined || !v.kernelMode || cpu.mode !== 64) return syscallToGuest(pv, v);
      v.loadKernelSegments();
      makeHypercall(pv, v);
    },
    hypercalls: table,
    // A program's SYSCALL comes the same way, with a number of its own kernel's.
    convention: {
      ...convention,
      number: cpu => (slot.built?.vcpus[cpu.id]?.kernelMode ? convention.number(cpu) : undefined),
    },
  };
}
