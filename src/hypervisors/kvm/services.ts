/** What KVM gives a hypervisor that stands on it (Linux Documentation/virt/kvm/x86/{msr,hypercalls}.rst). */
import { HypervisorProcessor } from '../../paravirt/delegating-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { PVCLOCK_SIZE, readPvclock } from '../../paravirt/pvclock.ts';
import type { MakeServices } from '../../paravirt/services.ts';

const MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00;
const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;
const MSR_KVM_STEAL_TIME = 0x4b564d03;
const MSR_KVM_PV_EOI_EN = 0x4b564d04;
const ENABLED = 1;
const KVM_HC_SEND_IPI = 10n;
const KVM_HC_SCHED_YIELD = 11n;

/** Where things stand in a processor's page. */
const STEAL_TIME = 0x40;
const EOI_WORD = 0x80;
const WALL_CLOCK = 0xc0;

export const kvmServices: MakeServices = ({ context, base, page }, native) => {
  const { memory, cpus } = context;
  const pageOf = (cpu: Processor) => page(2 + cpu.id);
  const writeMsr = (cpu: Processor, index: number, address: number) =>
    void base.cpu.msrs[index]!.write!(new HypervisorProcessor(cpu, {}), BigInt(address));
  const call = (cpu: Processor, rax: bigint, rbx: bigint, rcx: bigint, rdx: bigint, rsi: bigint) => {
    if (typeof base.cpu.hypercall === 'function')
      base.cpu.hypercall(new HypervisorProcessor(cpu, { rax, rbx, rcx, rdx, rsi }));
  };
  const apicId = ({ interrupts, id }: Processor) => BigInt(interrupts?.id ?? id);

  return {
    initialise(cpu) {
      native.initialise(cpu);
      memory.fill(pageOf(cpu), EOI_WORD + 4 + PVCLOCK_SIZE);
      writeMsr(cpu, MSR_KVM_SYSTEM_TIME_NEW, pageOf(cpu) + ENABLED);
      writeMsr(cpu, MSR_KVM_STEAL_TIME, pageOf(cpu) + STEAL_TIME + ENABLED);
      writeMsr(cpu, MSR_KVM_PV_EOI_EN, pageOf(cpu) + EOI_WORD + ENABLED);
    },
    now: cpu => Number(readPvclock(memory, pageOf(cpu), cpu.tsc.read())),
    epoch(cpu) {
      const at = pageOf(cpu) + WALL_CLOCK;
      writeMsr(cpu, MSR_KVM_WALL_CLOCK_NEW, at);
      return BigInt(memory.read32(at + 4)) * 1_000_000_000n + BigInt(memory.read32(at + 8));
    },
    endOfInterrupt(cpu) {
      const at = pageOf(cpu) + EOI_WORD;
      const word = memory.read32(at);
      if (word & 1) memory.write32(at, word & ~1);
      else native.endOfInterrupt(cpu);
    },
    sendIpi: (cpu, target, vector) => call(cpu, KVM_HC_SEND_IPI, 1n, 0n, apicId(target), BigInt(vector)),
    yield(cpu) {
      const other = cpus.find(({ id, halted }) => id !== cpu.id && !halted);
      if (other) call(cpu, KVM_HC_SCHED_YIELD, apicId(other), 0n, 0n, 0n);
    },
    halt: cpu => (typeof base.irq.halt === 'function' ? base.irq.halt(cpu) : native.halt(cpu)),
  };
};
