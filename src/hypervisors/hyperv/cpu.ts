/**
 * The processor's part of Hyper-V (Hypervisor Top Level Functional Specification 6.0b, TLFS, chapters 2 to 4): CPUID
 * leaves and hypercalls, who the guest says it is, its hypercall page, the processor's index, reset, and the crash
 * registers.
 */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { createCpuid } from './cpuid.ts';
import { createCrash } from './crash.ts';
import { convention, createHypercall } from './hypercall.ts';
import { isUsable, pageOf } from './pages.ts';
import type { Vmbus } from './vmbus.ts';
import { vpIndexOf } from './vp-set.ts';

const HV_X64_MSR_GUEST_OS_ID = 0x40000000;
const HV_X64_MSR_HYPERCALL = 0x40000001;
const HV_X64_MSR_VP_INDEX = 0x40000002;
const HV_X64_MSR_RESET = 0x40000003;

/** HV_X64_MSR_HYPERCALL bit 1: until the next reset the register stays as it is. */
const LOCKED = 2n;
const RESET = 1n;
/** VMMCALL and RET: our processor is an AMD-like one. */
const HYPERCALL_PAGE = Uint8Array.of(0x0f, 0x01, 0xd9, 0xc3);

/** The registers of the guest's identity, and whether the guest may make hypercalls, which follows from them. */
function createIdentity(context: HypervisorContext) {
  const { memory } = context;
  const state = context.state('hyperv/identity', 1, () => ({ guestOsId: 0n, hypercallPage: 0n }));
  const msrs: Record<number, Msr> = {
    [HV_X64_MSR_GUEST_OS_ID]: {
      name: 'HV_X64_MSR_GUEST_OS_ID',
      read: () => state.guestOsId,
      write(_cpu, value) {
        state.guestOsId = value;
        // TLFS 3.13: a guest without an identity has no hypercalls.
        if (value === 0n) state.hypercallPage &= ~1n;
        return true;
      },
    },
    [HV_X64_MSR_HYPERCALL]: {
      name: 'HV_X64_MSR_HYPERCALL',
      read: () => state.hypercallPage,
      write(_cpu, value) {
        if (state.hypercallPage & LOCKED || !isUsable(memory, value)) return false;
        // Without an identity the register cannot be enabled; that is no fault.
        if (state.guestOsId === 0n) return true;
        state.hypercallPage = value;
        const page = pageOf(value);
        if (page !== undefined) memory.copyIn(page, HYPERCALL_PAGE);
        return true;
      },
    },
  };
  return { msrs, mayCall: () => state.guestOsId !== 0n && pageOf(state.hypercallPage) !== undefined };
}

const processorRegisters: Readonly<Record<number, Msr>> = {
  [HV_X64_MSR_VP_INDEX]: { name: 'HV_X64_MSR_VP_INDEX', read: cpu => BigInt(vpIndexOf(cpu)) },
  [HV_X64_MSR_RESET]: {
    name: 'HV_X64_MSR_RESET',
    read: () => 0n,
    write(cpu, value) {
      if (value & RESET) cpu.request('reset');
      return true;
    },
  },
};

export function createCpu(context: HypervisorContext, vmbus: Vmbus): Group<'cpu'> {
  const identity = createIdentity(context);
  return {
    cpuid: createCpuid(context),
    ...createHypercall(context, vmbus, identity.mayCall),
    convention,
    msrs: { ...identity.msrs, ...processorRegisters, ...createCrash(context) },
  };
}
