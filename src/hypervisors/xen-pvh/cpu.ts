/**
 * What a PVH guest's processor says of Xen, and how it calls it: CPUID leaves, VMCALL or VMMCALL, the hypercall page.
 */

import { withHypervisor, withoutInvariantTsc } from '../../paravirt/cpuid.ts';
import type { Group } from '../../paravirt/group.ts';
import type { CpuidResult, HypervisorContext, Msr } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import { __HYPERVISOR_iret, DOMAIN_ID, EINVAL, EPERM } from '../xen/constants.ts';
import { XEN_HYPERCALL_MSR, xenCpuid } from '../xen/cpuid.ts';
import type { DomainSlot } from '../xen/domain-slot.ts';
import { convention, type HypercallTable } from '../xen/hypercall.ts';
import { privilegedHvm } from '../xen/hypercalls/privileged.ts';
import { initialise, VCPUOP_initialise, VCPUOP_send_nmi, vcpu_op } from '../xen/hypercalls/vcpu-op.ts';
import { commonHypercalls, hypercall } from '../xen/hypercalls.ts';
import { hvm_op } from './hvm-op.ts';
import { initialisePvh } from './initialise.ts';
import { pvhMemoryOp } from './memory-op.ts';
import type { PvhDomain } from './pvh-domain.ts';

/** Leaf 4 EAX. */
const XEN_HVM_CPUID_VCPU_ID_PRESENT = 1 << 3;
const XEN_HVM_CPUID_DOMID_PRESENT = 1 << 4;
const XEN_HVM_CPUID_UPCALL_VECTOR = 1 << 6;

/** Stubs of the hypercall page, 32 bytes each. */
const STUB_SIZE = 32;
const MOV_EAX = 0xb8;
const VMCALL_RET = [0x0f, 0x01, 0xc1, 0xc3];
const UD2 = [0x0f, 0x0b];
const INT3 = 0xcc;

function fillHypercallPage(pvh: PvhDomain, address: number): void {
  const page = new Uint8Array(PAGE_SIZE).fill(INT3);
  for (let number = 0; number < PAGE_SIZE / STUB_SIZE; number++) {
    const code = number === __HYPERVISOR_iret ? UD2 : [MOV_EAX, number, 0, 0, 0, ...VMCALL_RET];
    page.set(code, number * STUB_SIZE);
  }
  pvh.domain.memory.copyIn(address, page);
}

export function createCpu(_context: HypervisorContext, slot: DomainSlot<PvhDomain>): Group<'cpu'> {
  const domain = () => slot.domain;
  const table: HypercallTable = {
    ...commonHypercalls(() => table),
    ...vcpu_op({
      [VCPUOP_initialise]: initialise(initialisePvh),
      [VCPUOP_send_nmi](_, vcpu, argument) {
        if (argument !== 0n) return -EINVAL;
        vcpu.wake();
        vcpu.cpu.nmi();
        return 0;
      },
    }),
    ...pvhMemoryOp(domain),
    ...hvm_op(domain),
    ...privilegedHvm,
  };

  /** The value is the page's address; its low bits would choose among several pages, of which there is one. */
  const hypercallPage: Msr = {
    name: 'XEN_HYPERCALL_MSR',
    read: () => 0n,
    write(cpu, value) {
      const pvh = slot.domain;
      if (value % BigInt(PAGE_SIZE) !== 0n || value >= 1n << 52n) return false;
      const frame = Number(value) / PAGE_SIZE;
      if (!pvh.isRam(frame)) return false;
      fillHypercallPage(pvh, Number(value));
      pvh.latchWidth(cpu);
      return true;
    },
  };

  return {
    cpuid(cpu: Processor, leaf: number, subleaf: number, natively: () => CpuidResult) {
      if (leaf === 1) return withHypervisor(natively());
      // Xen shows an invariant TSC only to guests that may not migrate.
      if (leaf === 0x80000007) return withoutInvariantTsc(natively());
      return xenCpuid(cpu, leaf, subleaf, {
        features1: 0,
        hvm: {
          eax: XEN_HVM_CPUID_VCPU_ID_PRESENT | XEN_HVM_CPUID_DOMID_PRESENT | XEN_HVM_CPUID_UPCALL_VECTOR,
          ebx: cpu.id,
          ecx: DOMAIN_ID,
          edx: 0,
        },
      });
    },
    msrs: { [XEN_HYPERCALL_MSR]: hypercallPage },
    hypercall(cpu) {
      const width = cpu.mode === 64 ? 64 : 32;
      // Only a kernel may call, and the others are told so rather than faulted.
      if (cpu.cpl !== 0) cpu.set('rax', BigInt.asUintN(width, BigInt(-EPERM)));
      else hypercall(table, slot.domain.of(cpu));
      return true;
    },
    hypercalls: table,
    convention,
  };
}
