/** KVM's identification leaves and hypercalls (Documentation/virt/kvm/x86/cpuid.rst, hypercalls.rst). */
import { EMPTY_LEAF, signatureLeaf, withHypervisor, withoutInvariantTsc } from '../../paravirt/cpuid.ts';
import type { Group } from '../../paravirt/group.ts';
import type { CpuidResult, HypercallConvention, HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor, RegisterName } from '../../paravirt/processor.ts';
import { IA32_MISC_ENABLE } from '../../x86/msrs.ts';
import { type Calls, KVM_EFAULT, KVM_ENOSYS, KVM_EOPNOTSUPP, KVM_EPERM } from './call.ts';

const KVM_CPUID_SIGNATURE = 0x40000000;
const KVM_CPUID_FEATURES = 0x40000001;
/** The leaves after our two, up to where another hypervisor's signature would stand, read as zero. */
const KVM_CPUID_LAST = 0x400000ff;

const KVM_FEATURE_CLOCKSOURCE = 1 << 0;
const KVM_FEATURE_NOP_IO_DELAY = 1 << 1;
const KVM_FEATURE_CLOCKSOURCE2 = 1 << 3;
const KVM_FEATURE_STEAL_TIME = 1 << 5;
const KVM_FEATURE_PV_EOI = 1 << 6;
const KVM_FEATURE_PV_UNHALT = 1 << 7;
const KVM_FEATURE_PV_TLB_FLUSH = 1 << 9;
const KVM_FEATURE_PV_SEND_IPI = 1 << 11;
const KVM_FEATURE_PV_SCHED_YIELD = 1 << 13;
const KVM_FEATURE_CLOCKSOURCE_STABLE_BIT = 1 << 24;

/**
 * What is here, with one processor as with several: it is the guest that looks for others. No page is ever paged out, so
 * that there are no asynchronous page faults.
 */
const FEATURES =
  KVM_FEATURE_CLOCKSOURCE |
  KVM_FEATURE_NOP_IO_DELAY |
  KVM_FEATURE_CLOCKSOURCE2 |
  KVM_FEATURE_STEAL_TIME |
  KVM_FEATURE_PV_EOI |
  KVM_FEATURE_PV_UNHALT |
  KVM_FEATURE_PV_TLB_FLUSH |
  KVM_FEATURE_PV_SEND_IPI |
  KVM_FEATURE_PV_SCHED_YIELD |
  KVM_FEATURE_CLOCKSOURCE_STABLE_BIT;

function cpuid(_cpu: Processor, leaf: number, _subleaf: number, natively: () => CpuidResult) {
  if (leaf === 1) return withHypervisor(natively());
  // As KVM does by default, since a guest may move to another host: a Linux that sees the bit prefers the plain TSC. Of an
  // AMD processor without it Linux 6.1 believes that several have TSCs that differ, and says so; under QEMU's -cpu EPYC, too.
  if (leaf === 0x80000007) return withoutInvariantTsc(natively());
  if (leaf === KVM_CPUID_SIGNATURE) return signatureLeaf(KVM_CPUID_FEATURES, 'KVMKVMKVM');
  if (leaf === KVM_CPUID_FEATURES) return { eax: FEATURES >>> 0, ebx: 0, ecx: 0, edx: 0 };
  if (leaf > KVM_CPUID_FEATURES && leaf <= KVM_CPUID_LAST) return EMPTY_LEAF;
  return undefined;
}

const KVM_HC_VAPIC_POLL_IRQ = 1;
const KVM_HC_CLOCK_PAIRING = 9;

/** The only kind of pairing there is: with the host's CLOCK_REALTIME. */
const KVM_CLOCK_PAIRING_WALLCLOCK = 0n;
/** struct kvm_clock_pairing: s64 sec, s64 nsec, u64 tsc, u32 flags, u32 pad[9]. */
const CLOCK_PAIRING_SIZE = 64;

const ownCalls: Calls = {
  [KVM_HC_VAPIC_POLL_IRQ]: {
    name: 'KVM_HC_VAPIC_POLL_IRQ',
    arguments: [],
    status: 'done',
    run: () => 0, // That the processor has left the guest is all that was asked for.
  },
  [KVM_HC_CLOCK_PAIRING]: {
    name: 'KVM_HC_CLOCK_PAIRING',
    arguments: ['address', 'type'],
    status: 'done',
    run: (cpu, [address, type]) => pairClocks(cpu, address, type),
  },
};

const convention: HypercallConvention = {
  number: cpu => Number(BigInt.asUintN(32, cpu.get('rax'))),
  registers: () => ['rbx', 'rcx', 'rdx', 'rsi'],
};

/** VMCALL or VMMCALL: number in RAX, arguments in RBX, RCX, RDX, RSI; the result replaces RAX, nothing else changes. */
function hypercall(cpu: Processor, calls: Calls): true {
  const long = cpu.mode === 64;
  const argument = (register: RegisterName) => (long ? cpu.get(register) : cpu.get(register) & 0xffffffffn);
  const number = argument('rax');
  const call = number < 2n ** 32n ? calls[Number(number)] : undefined;
  let result = -KVM_ENOSYS;
  if (cpu.cpl > 0) result = -KVM_EPERM;
  else if (call) result = call.run(cpu, [argument('rbx'), argument('rcx'), argument('rdx'), argument('rsi')]);
  else cpu.log.once(`kvm-hypercall-${number}`, `KVM hypercall ${number}: not implemented`);
  cpu.set('rax', BigInt.asUintN(long ? 64 : 32, BigInt(result)));
  return true;
}

/** Host time and TSC taken at one moment, for guests that follow the host's clock (ptp_kvm). */
function pairClocks(cpu: Processor, address: bigint, type: bigint): number {
  if (type !== KVM_CLOCK_PAIRING_WALLCLOCK) return -KVM_EOPNOTSUPP;
  const at = Number(address);
  if (!cpu.memory.has(at, CLOCK_PAIRING_SIZE)) return -KVM_EFAULT;
  const now = cpu.clock.epoch + BigInt(Math.floor(cpu.clock.now()));
  cpu.memory.fill(at, CLOCK_PAIRING_SIZE);
  cpu.memory.write64(at, now / 1_000_000_000n);
  cpu.memory.write64(at + 8, now % 1_000_000_000n);
  cpu.memory.write64(at + 16, cpu.tsc.read());
  return 0;
}

/** Bits of IA32_MISC_ENABLE (SDM 4, table 2-2) that say what is not there, and that no write changes. */
const BTS_UNAVAILABLE = 1n << 11n;
const PEBS_UNAVAILABLE = 1n << 12n;
const READ_ONLY = BTS_UNAVAILABLE | PEBS_UNAVAILABLE;
/** Performance monitoring available: a write of it is ignored. */
const EMON = 1n << 7n;
const FAST_STRINGS = 1n << 0n;

/** KVM has this register of Intel's on every processor, and keeps what is written. */
function miscEnable(context: HypervisorContext): Msr {
  const states = perProcessor(context, 'kvm/misc-enable', 1, () => ({ value: READ_ONLY | FAST_STRINGS }));
  return {
    name: 'IA32_MISC_ENABLE',
    read: ({ id }) => states[id].value,
    write({ id }, value) {
      const state = states[id];
      if ((value ^ state.value) & READ_ONLY) return false;
      state.value = (value & ~EMON) | (state.value & EMON);
      return true;
    },
  };
}

/** @param processorCalls those that reach other processors */
export function createCpu(context: HypervisorContext, processorCalls: Calls): Group<'cpu'> {
  const calls = { ...ownCalls, ...processorCalls };
  return {
    cpuid,
    hypercall: cpu => hypercall(cpu, calls),
    hypercalls: calls,
    convention,
    msrs: { [IA32_MISC_ENABLE]: miscEnable(context) },
  };
}
