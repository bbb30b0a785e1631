/** What Hyper-V gives a hypervisor that stands on it (TLFS 6.0b, chapters 4, 10, 11 and 12). */
import { HypervisorProcessor } from '../../paravirt/delegating-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { type MakeServices, SERVICE_VECTORS } from '../../paravirt/services.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import { REFERENCE_UNIT } from './reference-time.ts';

const HV_X64_MSR_GUEST_OS_ID = 0x40000000;
const HV_X64_MSR_HYPERCALL = 0x40000001;
const HV_X64_MSR_VP_INDEX = 0x40000002;
const HV_X64_MSR_RESET = 0x40000003;
const HV_X64_MSR_REFERENCE_TSC = 0x40000021;
const HV_X64_MSR_EOI = 0x40000070;
const HV_X64_MSR_VP_ASSIST_PAGE = 0x40000073;
const HV_X64_MSR_STIMER0_CONFIG = 0x400000b0;
const HV_X64_MSR_STIMER0_COUNT = 0x400000b1;
const ENABLED = 1;
const HvCallNotifyLongSpinWait = 0x0008n;
const HvCallSendSyntheticClusterIpi = 0x000bn;
const FAST = 1n << 16n;
/** An operating system that is open source: Xen (TLFS 2.6). */
const GUEST_OS_ID = (1n << 63n) | (3n << 56n);
/** HV_X64_MSR_STIMERn_CONFIG: an interrupt, as soon as there is a count. */
const AUTO_ENABLE = 1n << 3n;
const DIRECT_MODE = 1n << 12n;
const VECTOR_SHIFT = 4n;
/** Processors that a mask of 64 bits can name. */
const IN_MASK = 64;
/** Pages: the code that calls, and reference time. */
const HYPERCALL_PAGE = 0;
const REFERENCE_TSC_PAGE = 1;

export const hypervServices: MakeServices = ({ context, base, page }, native) => {
  const { memory } = context;
  const assistPage = (cpu: Processor) => page(2 + cpu.id);
  const writeMsr = (cpu: Processor, index: number, value: bigint | number) =>
    void base.cpu.msrs[index]!.write!(new HypervisorProcessor(cpu, {}), BigInt(value));
  const vpIndex = (cpu: Processor) => Number(base.cpu.msrs[HV_X64_MSR_VP_INDEX]!.read!(cpu));
  /** A fast hypercall. @returns its status */
  const call = (cpu: Processor, code: bigint, rdx: bigint, r8: bigint): bigint => {
    const caller = new HypervisorProcessor(cpu, { rcx: code | FAST, rdx, r8 });
    if (typeof base.cpu.hypercall === 'function') base.cpu.hypercall(caller);
    return caller.get('rax') & 0xffffn;
  };

  return {
    initialise(cpu) {
      native.initialise(cpu);
      if (cpu.id === 0) {
        writeMsr(cpu, HV_X64_MSR_GUEST_OS_ID, GUEST_OS_ID);
        writeMsr(cpu, HV_X64_MSR_HYPERCALL, page(HYPERCALL_PAGE) + ENABLED);
        writeMsr(cpu, HV_X64_MSR_REFERENCE_TSC, page(REFERENCE_TSC_PAGE) + ENABLED);
      }
      memory.fill(assistPage(cpu), PAGE_SIZE);
      writeMsr(cpu, HV_X64_MSR_VP_ASSIST_PAGE, assistPage(cpu) + ENABLED);
      const vector = BigInt(SERVICE_VECTORS.timer) << VECTOR_SHIFT;
      writeMsr(cpu, HV_X64_MSR_STIMER0_CONFIG, AUTO_ENABLE | DIRECT_MODE | vector);
    },
    now(cpu) {
      const at = page(REFERENCE_TSC_PAGE);
      const [scale, offset] = [memory.read64(at + 8), BigInt.asIntN(64, memory.read64(at + 16))];
      return Number(((cpu.tsc.read() * scale) >> 64n) + offset) * REFERENCE_UNIT;
    },
    setTimer: (cpu, at) =>
      writeMsr(cpu, HV_X64_MSR_STIMER0_COUNT, at === undefined ? 0 : Math.max(1, Math.ceil(at / REFERENCE_UNIT))),
    endOfInterrupt(cpu) {
      const word = memory.read32(assistPage(cpu));
      memory.write32(assistPage(cpu), (word & ~1) >>> 0);
      if (!(word & 1)) writeMsr(cpu, HV_X64_MSR_EOI, 0);
    },
    sendIpi(cpu, target, vector) {
      const index = vpIndex(target);
      const status =
        index < IN_MASK ? call(cpu, HvCallSendSyntheticClusterIpi, BigInt(vector), 1n << BigInt(index)) : 1n;
      if (status !== 0n) native.sendIpi(cpu, target, vector);
    },
    yield: cpu => void call(cpu, HvCallNotifyLongSpinWait, 1n, 0n),
    reset: cpu => writeMsr(cpu, HV_X64_MSR_RESET, ENABLED),
  };
};
