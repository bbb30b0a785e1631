/**
 * VMware's identification leaves and hypercalls (VMware KB 1009458, "Mechanisms to determine if software is running in
 * a VMware virtual machine"; Linux arch/x86/include/asm/vmware.h).
 */
import { APIC_TIMER_FREQUENCY } from '../../devices/apic-timer.ts';
import { EMPTY_LEAF, signatureLeaf, withHypervisor } from '../../paravirt/cpuid.ts';
import type { Group } from '../../paravirt/group.ts';
import type { CpuidResult, HypercallConvention, HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { type Backdoor, type Commands, commandOf, VMWARE_HYPERVISOR_MAGIC } from './backdoor.ts';

const CPUID_VMWARE_INFO_LEAF = 0x40000000;
const CPUID_VMWARE_FEATURES_LEAF = 0x40000010;
/** Leaf 0x40000010 ECX: the instruction that calls. One of the two; with neither a guest uses the port. */
const CPUID_VMWARE_FEATURES_ECX_VMMCALL = 1 << 0;

const VMWARE_CMD_GETVERSION = 10;
const VMWARE_CMD_GETHZ = 45;
const VMWARE_CMD_GETVCPU_INFO = 68;

const VMX_VERSION = 6;
/** GETVERSION's ECX: which product. */
const VMX_TYPE_SCALABLE_SERVER = 2;
/** GETVCPU_INFO's EAX: x2APIC mode works although no interrupt is remapped. */
const VCPU_LEGACY_X2APIC = 1 << 3;

function cpuid(cpu: Processor, leaf: number, _subleaf: number, natively: () => CpuidResult) {
  if (leaf === 1) return withHypervisor(natively());
  if (leaf === CPUID_VMWARE_INFO_LEAF) return signatureLeaf(CPUID_VMWARE_FEATURES_LEAF, 'VMwareVMware');
  if (leaf === CPUID_VMWARE_FEATURES_LEAF)
    return {
      eax: Math.floor(cpu.tsc.frequency / 1000),
      ebx: Math.floor(APIC_TIMER_FREQUENCY / 1000),
      ecx: CPUID_VMWARE_FEATURES_ECX_VMMCALL,
      edx: 0,
    };
  return leaf > CPUID_VMWARE_INFO_LEAF && leaf < CPUID_VMWARE_FEATURES_LEAF ? EMPTY_LEAF : undefined;
}

/** What Linux asks at its start. */
const identification: Commands = {
  [VMWARE_CMD_GETVERSION]: {
    name: 'VMWARE_CMD_GETVERSION',
    arguments: [],
    status: 'done',
    run(cpu) {
      cpu.set('rbx', BigInt(VMWARE_HYPERVISOR_MAGIC));
      cpu.set('rcx', BigInt(VMX_TYPE_SCALABLE_SERVER));
      return VMX_VERSION;
    },
  },
  [VMWARE_CMD_GETHZ]: {
    name: 'VMWARE_CMD_GETHZ',
    arguments: [],
    status: 'done',
    /** EBX:EAX the TSC's frequency, ECX that of the local APIC's timer, both in Hz. */
    run(cpu) {
      const { frequency } = cpu.tsc;
      cpu.set('rbx', BigInt(Math.floor(frequency / 2 ** 32)));
      cpu.set('rcx', BigInt(APIC_TIMER_FREQUENCY));
      return frequency % 2 ** 32;
    },
  },
  [VMWARE_CMD_GETVCPU_INFO]: {
    name: 'VMWARE_CMD_GETVCPU_INFO',
    arguments: [],
    status: 'done',
    run: () => VCPU_LEGACY_X2APIC,
  },
};

const convention: HypercallConvention = { number: commandOf, registers: () => ['rbx', 'rsi', 'rdi'] };

export function createCpu(_context: HypervisorContext, backdoor: Backdoor): Group<'cpu'> {
  return {
    cpuid,
    /** VMCALL or VMMCALL, with the registers of the port. From programs, too: they have always been served. */
    hypercall(cpu) {
      const result = backdoor.call(cpu);
      if (result === undefined) return false;
      cpu.set('rax', BigInt(result));
      return true;
    },
    hypercalls: backdoor.serve(identification),
    convention,
  };
}
