/**
 * Hypercalls by which a processor reaches others (TLFS 10.5, 12.11 and 7.8.7): interrupts to many at once, the flushing of
 * their TLBs, and waiting for the holder of a lock.
 */
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import {
  type Calls,
  HV_STATUS_INVALID_HYPERCALL_INPUT,
  HV_STATUS_INVALID_PARAMETER,
  HV_STATUS_SUCCESS,
  type Input,
  inputAt,
} from './call.ts';
import { maskSet, readVpSet, type VpSet, vpIndexOf, vpSetSize } from './vp-set.ts';

const HvCallFlushVirtualAddressSpace = 0x0002;
const HvCallFlushVirtualAddressList = 0x0003;
const HvCallNotifyLongSpinWait = 0x0008;
const HvCallSendSyntheticClusterIpi = 0x000b;
const HvCallFlushVirtualAddressSpaceEx = 0x0013;
const HvCallFlushVirtualAddressListEx = 0x0014;
const HvCallSendSyntheticClusterIpiEx = 0x0015;

/** A flush: address space u64, flags u64, then a mask u64 or a set of processors, then the list. */
const FLUSH_FLAGS = 8;
const FLUSH_PROCESSORS = 16;
const HV_FLUSH_ALL_PROCESSORS = 1n << 0n;
/** Ranges have another format, which knows large pages. */
const HV_FLUSH_USE_EXTENDED_RANGE_FORMAT = 1n << 3n;
/** An element of the list: the first page's address, and how many follow it. */
const RANGE_SIZE = 8;
const MORE_PAGES = 0xfffn;
const PAGE = 4096n;
/** More pages than this are not worth looking for one by one. */
const MOST_PAGES = 64;

/** An IPI: vector u32, target VTL u8 and three bytes that are 0, then a mask u64 or a set of processors. */
const IPI_PROCESSORS = 8;
const HV_IPI_LOW_VECTOR = 0x10;
const HV_IPI_HIGH_VECTOR = 0xff;
const FIXED = 0;

export function createProcessorCalls({ cpus, memory }: HypervisorContext): Calls {
  /** The set of processors in a call's input, as a mask or, in the calls whose names end in Ex, as a set with banks. */
  const processorsAt = (address: number, { headerSize }: Input, isEx: boolean): VpSet | number =>
    isEx ? readVpSet(memory, address, headerSize) : maskSet(memory.read64(address));
  const sizeOf = ({ headerSize }: Input, isEx: boolean): number => (isEx ? vpSetSize(headerSize) : 8);

  /** The list's pages; undefined: too many to look for. */
  function pagesOf(address: number, { start, count }: Input): bigint[] | undefined {
    const pages: bigint[] = [];
    for (let index = start; index < count; index++) {
      const range = memory.read64(address + index * RANGE_SIZE);
      const more = Number(range & MORE_PAGES);
      if (pages.length + 1 + more > MOST_PAGES) return undefined;
      for (let page = 0; page <= more; page++) pages.push((range & ~MORE_PAGES) + BigInt(page) * PAGE);
    }
    return pages;
  }

  /**
   * Whatever address space is meant: which of a processor's are the same to a guest that isolates page tables, only the
   * guest knows.
   */
  function flush(input: Input, isEx: boolean, isList: boolean): number {
    const header = FLUSH_PROCESSORS + sizeOf(input, isEx);
    const [address, status] = inputAt(memory, input, header + (isList ? input.count * RANGE_SIZE : 0));
    if (address === undefined) return status;
    const flags = memory.read64(address + FLUSH_FLAGS);
    const processors = processorsAt(address + FLUSH_PROCESSORS, input, isEx);
    if (typeof processors === 'number') return processors;
    const isMeant = flags & HV_FLUSH_ALL_PROCESSORS ? () => true : (cpu: Processor) => processors(vpIndexOf(cpu));
    const pages =
      isList && !(flags & HV_FLUSH_USE_EXTENDED_RANGE_FORMAT) ? pagesOf(address + header, input) : undefined;
    for (const cpu of cpus.filter(isMeant))
      if (pages) for (const page of pages) cpu.invalidatePage(page);
      else cpu.flush(true);
    return HV_STATUS_SUCCESS;
  }

  function send(vector: number, vtl: number, processors: VpSet): number {
    // There is one trust level, 0.
    if (vtl !== 0 || vector < HV_IPI_LOW_VECTOR || vector > HV_IPI_HIGH_VECTOR) return HV_STATUS_INVALID_PARAMETER;
    for (const cpu of cpus)
      if (processors(vpIndexOf(cpu)) && cpu.interrupts?.accept(FIXED, vector, false)) cpu.noteIpi();
    return HV_STATUS_SUCCESS;
  }
  function sendIpi(input: Input, isEx: boolean): number {
    const { fast, first, second } = input;
    if (fast && isEx) return HV_STATUS_INVALID_HYPERCALL_INPUT;
    if (fast) return send(Number(first & 0xffffffffn), Number(first >> 32n), maskSet(second));
    const [address, status] = inputAt(memory, input, IPI_PROCESSORS + sizeOf(input, isEx));
    if (address === undefined) return status;
    const processors = processorsAt(address + IPI_PROCESSORS, input, isEx);
    if (typeof processors === 'number') return processors;
    return send(memory.read32(address), memory.read32(address + 4), processors);
  }

  const ipi = ['vector', 'processor_mask'];
  return {
    [HvCallFlushVirtualAddressSpace]: {
      name: 'HvCallFlushVirtualAddressSpace',
      arguments: ['input'],
      status: 'done',
      run: input => flush(input, false, false),
    },
    [HvCallFlushVirtualAddressList]: {
      name: 'HvCallFlushVirtualAddressList',
      arguments: ['input'],
      status: 'done',
      repeats: true,
      run: input => flush(input, false, true),
    },
    [HvCallFlushVirtualAddressSpaceEx]: {
      name: 'HvCallFlushVirtualAddressSpaceEx',
      arguments: ['input'],
      status: 'done',
      varies: true,
      run: input => flush(input, true, false),
    },
    [HvCallFlushVirtualAddressListEx]: {
      name: 'HvCallFlushVirtualAddressListEx',
      arguments: ['input'],
      status: 'done',
      varies: true,
      repeats: true,
      run: input => flush(input, true, true),
    },
    [HvCallSendSyntheticClusterIpi]: {
      name: 'HvCallSendSyntheticClusterIpi',
      arguments: ipi,
      status: 'done',
      run: input => sendIpi(input, false),
    },
    [HvCallSendSyntheticClusterIpiEx]: {
      name: 'HvCallSendSyntheticClusterIpiEx',
      arguments: ['input'],
      status: 'done',
      varies: true,
      run: input => sendIpi(input, true),
    },
    [HvCallNotifyLongSpinWait]: {
      name: 'HvCallNotifyLongSpinWait',
      arguments: ['spin_count'],
      status: 'done',
      run({ cpu }) {
        cpu.yield();
        return HV_STATUS_SUCCESS;
      },
    },
  };
}
