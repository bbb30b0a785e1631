/**
 * The hypercalls by which a PV guest changes page tables: HYPERVISOR_mmu_update, _update_va_mapping and _mmuext_op
 * (public/xen.h). They take numbers as 32-bit halves: guests make them by the thousand, and a bigint for each would
 * cost more than the work.
 */
import { PAGE_SIZE } from '../../x86/paging.ts';
import { type CallFrame, type Outcome, UNFINISHED } from '../xen/call-frame.ts';
import {
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_update_va_mapping,
  __HYPERVISOR_update_va_mapping_otherdomain,
  DOMID_IO,
  DOMID_SELF,
  DOMID_XEN,
  EACCES,
  EFAULT,
  EINVAL,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
} from '../xen/constants.ts';
import type { HypercallTable } from '../xen/hypercall.ts';
import { newBaseptr, newUserBaseptr } from './baseptr.ts';
import { setLdt } from './descriptors.ts';
import { PGT_l1_page_table, PGT_writable_page } from './page-info.ts';
import { frameOf, pageNumberOfHalves } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** Low two bits of a request's address: what to do. */
const MMU_NORMAL_PT_UPDATE = 0;
const MMU_MACHPHYS_UPDATE = 1;
const MMU_PT_UPDATE_PRESERVE_AD = 2;
const MMU_PT_UPDATE_NO_TRANSLATE = 3;

const MMUEXT_PIN_L1_TABLE = 0;
const MMUEXT_PIN_L4_TABLE = 3;
const MMUEXT_UNPIN_TABLE = 4;
export const MMUEXT_NEW_BASEPTR = 5;
export const MMUEXT_TLB_FLUSH_LOCAL = 6;
export const MMUEXT_INVLPG_LOCAL = 7;
const MMUEXT_TLB_FLUSH_MULTI = 8;
const MMUEXT_INVLPG_MULTI = 9;
export const MMUEXT_TLB_FLUSH_ALL = 10;
export const MMUEXT_INVLPG_ALL = 11;
const MMUEXT_FLUSH_CACHE = 12;
const MMUEXT_SET_LDT = 13;
export const MMUEXT_NEW_USER_BASEPTR = 15;
const MMUEXT_CLEAR_PAGE = 16;
const MMUEXT_COPY_PAGE = 17;
const MMUEXT_FLUSH_CACHE_GLOBAL = 18;
const MMUEXT_MARK_SUPER = 19;
const MMUEXT_UNMARK_SUPER = 20;

/** The count's top bit: `done` already holds how many an interrupted call had done. Ours never say so. */
const MMU_UPDATE_PREEMPTED = 0x80000000;
/** Requests done before the guest's interrupts get their turn. */
const BATCH = 4096;

/** Requests are fetched this many at a time. */
const CHUNK = 32;
const requestWords = new Uint32Array(CHUNK * 4);
/** Bytes of struct mmu_update, which is the same in every guest. */
const REQUEST_SIZE = 16;
/** A struct mmuext_op: that of a 64-bit guest fills it. */
const opWords = new Uint32Array(6);
/** Word of the frame that holds the count of requests: the lower half of argument 1. */
const COUNT = 2;

/** The domain whose frames a call is about: 0 if it is the caller, else -errno. */
function checkForeignDomain(pv: PvDomain, foreign: number): number {
  const owner = foreign & 0xffff;
  // The upper half names the domain whose page tables are meant, plus one.
  const tables = foreign >>> 16;
  if (tables !== 0 && tables - 1 !== pv.domain.id) return tables === 1 ? -EPERM : -ESRCH;
  // A domain may not call itself foreign, by its own id.
  if (owner === DOMID_SELF) return 0;
  // DOMID_IO and DOMID_XEN exist, domain 0 too; none is for us.
  return owner === 0 || owner === DOMID_IO || owner === DOMID_XEN ? -EPERM : -ESRCH;
}

/** True if argument 2, where to store how many requests were done, is no null pointer. */
function wantsDone(words: Uint32Array): boolean {
  return (words[4] | words[5]) !== 0;
}

/** Stores how many requests were done. */
function reportDone(pv: PvDomain, v: PvVcpu, pointer: bigint, done: number): boolean {
  const word = new Uint8Array(4);
  const before = new DataView(word.buffer);
  if (!pv.copy.read(v.kernelRoot, pointer, word)) return false;
  before.setUint32(0, (before.getUint32(0, true) + done) >>> 0, true);
  return pv.copy.write(v.kernelRoot, pointer, word);
}

/** Begins a call of mmu_update or mmuext_op: their arguments are alike. 0 or -errno. */
function begin(pv: PvDomain, v: PvVcpu, { words, longs }: CallFrame): number {
  if (words[COUNT] & MMU_UPDATE_PREEMPTED) words[COUNT] &= ~MMU_UPDATE_PREEMPTED;
  else if (wantsDone(words) && !pv.copy.write(v.kernelRoot, longs[2], new Uint8Array(4))) return -EFAULT;
  return checkForeignDomain(pv, words[6]);
}

/** Ends a call of which `i` requests of `size` bytes were done; the next one, if any, gave `error`. */
function end(pv: PvDomain, v: PvVcpu, frame: CallFrame, i: number, size: number, error: number): Outcome {
  const { words, longs } = frame;
  if (wantsDone(words) && !reportDone(pv, v, longs[2], i) && error === 0) return frame.finish(-EFAULT);
  if (error !== 0 || i >= words[COUNT]) return frame.finish(error);
  longs[0] = BigInt.asUintN(pv.abi.width, longs[0] + BigInt(size * i));
  longs[1] = BigInt(((words[COUNT] - i) | (wantsDone(words) ? MMU_UPDATE_PREEMPTED : 0)) >>> 0);
  return UNFINISHED;
}

/** HYPERVISOR_mmu_update. */
function mmuUpdate(pv: PvDomain, v: PvVcpu, frame: CallFrame): Outcome {
  let error = begin(pv, v, frame);
  if (error !== 0) return frame.finish(error);
  const list = frame.longs[0];
  const batch = Math.min(frame.words[COUNT], BATCH);
  let i = 0;
  while (error === 0 && i < batch) {
    const chunk = Math.min(CHUNK, batch - i);
    const at = list + BigInt(REQUEST_SIZE * i);
    if (!pv.copy.readWords(v.kernelRoot, at, requestWords, 4 * chunk)) {
      // The requests up to the page that is missing still count.
      if (!pv.copy.readWords(v.kernelRoot, at, requestWords, 4)) error = -EFAULT;
      else if ((error = mmuRequest(pv, 0)) === 0) i++;
      continue;
    }
    for (let n = 0; n < chunk; n++, i++) {
      error = mmuRequest(pv, 4 * n);
      if (error !== 0) break;
    }
  }
  return end(pv, v, frame, i, REQUEST_SIZE, error);
}

/** One request, standing in `requestWords` from `at`: {u64 ptr, u64 val}. */
function mmuRequest(pv: PvDomain, at: number): number {
  const pointer = requestWords[at];
  const frame = frameOf(pointer, requestWords[at + 1]);
  // frameOf drops the bits above 52: an address with one is no memory either.
  if (frame >= pv.info.frames || requestWords[at + 1] >>> 20 !== 0) return -EINVAL;
  const low = requestWords[at + 2];
  const high = requestWords[at + 3];
  const command = pointer & 3;
  if (command === MMU_MACHPHYS_UPDATE) {
    if (!pv.info.isOwned(frame)) return -EINVAL;
    pv.area.setM2p(frame, low, high);
    return 0;
  }
  if (pointer & 4) return -EINVAL;
  switch (command) {
    case MMU_NORMAL_PT_UPDATE:
    case MMU_PT_UPDATE_NO_TRANSLATE:
      return pv.updates.update(frame, (pointer & 0xfff) >>> 3, low, high, false);
    case MMU_PT_UPDATE_PRESERVE_AD:
      return pv.updates.update(frame, (pointer & 0xfff) >>> 3, low, high, true);
    default:
      return -ENOSYS;
  }
}

/** Flags of update_va_mapping: what to flush, and, as the rest, where: a mask of processors unless one of two values. */
const UVMF_FLUSHTYPE_MASK = 3;
const UVMF_TLB_FLUSH = 1;
const UVMF_INVLPG = 2;
const UVMF_LOCAL = 0n;
const UVMF_ALL = 4n;

/** 0, or -EFAULT for a mask of processors that cannot be read. */
function checkFlush(pv: PvDomain, v: PvVcpu, low: number, high: number): number {
  const what = low & UVMF_FLUSHTYPE_MASK;
  if (what !== UVMF_TLB_FLUSH && what !== UVMF_INVLPG) return 0;
  const where = (BigInt(high) << 32n) | BigInt((low & ~UVMF_FLUSHTYPE_MASK) >>> 0);
  return where === UVMF_LOCAL || where === UVMF_ALL || canReadMask(pv, v, where) ? 0 : -EFAULT;
}

/**
 * HYPERVISOR_update_va_mapping. Which translations to flush is known without the guest's flags (tlb.ts). A 32-bit guest
 * passes the entry in two arguments. 0 or -errno.
 */
function updateVaMapping(pv: PvDomain, v: PvVcpu, words: Uint32Array): number {
  const pageNumber = pageNumberOfHalves(words[0], words[1]);
  const place = pageNumber < 0 ? undefined : pv.updates.walk(v.kernelRoot, pageNumber);
  if (!place) return -EINVAL;
  const { info } = pv;
  if (info.typeCount[place.table] === 0 || info.type[place.table] !== PGT_l1_page_table) return -EINVAL;
  const error = pv.updates.modL1(place.table, place.index, words[2], words[pv.abi.long === 8 ? 3 : 4], false);
  if (pv.types.linearEntries !== 0) pv.types.tlb.all();
  const flags = pv.abi.long === 8 ? 4 : 6;
  return error || checkFlush(pv, v, words[flags], pv.abi.long === 8 ? words[flags + 1] : 0);
}

/** HYPERVISOR_mmuext_op. */
function mmuextOp(pv: PvDomain, v: PvVcpu, frame: CallFrame): Outcome {
  let error = begin(pv, v, frame);
  if (error !== 0) return frame.finish(error);
  const list = frame.longs[0];
  const batch = Math.min(frame.words[COUNT], BATCH);
  const { mmuextSize: size, long } = pv.abi;
  let i = 0;
  for (; i < batch; i++) {
    if (!pv.copy.readWords(v.kernelRoot, list + BigInt(size * i), opWords, size / 4)) error = -EFAULT;
    else if (long === 8) error = mmuextOperation(pv, v, opWords[0], opWords[2], opWords[3], opWords[4], opWords[5]);
    else error = mmuextOperation(pv, v, opWords[0], opWords[1], 0, opWords[2], 0);
    if (error !== 0) break;
  }
  return end(pv, v, frame, i, size, error);
}

/** A frame number in two halves. Numbers of 2^32 and above are no frames of this machine. */
function frameArgument(low: number, high: number): number {
  return high === 0 ? low : 0xffffffff;
}

/** One struct mmuext_op: command, arg1 and arg2 as halves. */
function mmuextOperation(
  pv: PvDomain,
  v: PvVcpu,
  command: number,
  low: number,
  high: number,
  low2: number,
  high2: number,
): number {
  const { info, types } = pv;
  const frame = frameArgument(low, high);
  if (command >= MMUEXT_PIN_L1_TABLE && command <= MMUEXT_PIN_L4_TABLE) {
    // A level that the guest's tables do not have: nothing to do, says Xen.
    return command < pv.abi.levels ? pin(pv, frame, command + 1) : 0;
  }
  switch (command) {
    case MMUEXT_UNPIN_TABLE:
      if (!info.isOwned(frame) || !info.isPinned(frame)) return -EINVAL;
      info.setPinned(frame, false);
      types.put(frame);
      return 0;
    case MMUEXT_NEW_BASEPTR:
      return newBaseptr(pv, v, frame);
    case MMUEXT_NEW_USER_BASEPTR:
      return newUserBaseptr(pv, v, frame);
    case MMUEXT_TLB_FLUSH_MULTI:
    case MMUEXT_INVLPG_MULTI:
      if (!canReadMask(pv, v, (BigInt(high2) << 32n) | BigInt(low2))) return -EINVAL;
      if (types.linearEntries !== 0) types.tlb.all();
      return 0;
    case MMUEXT_TLB_FLUSH_LOCAL:
    case MMUEXT_TLB_FLUSH_ALL:
    case MMUEXT_INVLPG_LOCAL:
    case MMUEXT_INVLPG_ALL:
      // Done when the entries were changed, but for what is reached through linear page tables.
      if (types.linearEntries !== 0) types.tlb.all();
      return 0;
    case MMUEXT_FLUSH_CACHE:
      return -EACCES;
    case MMUEXT_SET_LDT:
      return setLdt(pv, v, (BigInt(high) << 32n) | BigInt(low), low2);
    case MMUEXT_CLEAR_PAGE: {
      const error = types.get(frame, PGT_writable_page);
      if (error !== 0) return error;
      info.memory.fill(frame * PAGE_SIZE, PAGE_SIZE);
      types.put(frame);
      return 0;
    }
    case MMUEXT_COPY_PAGE: {
      const source = frameArgument(low2, high2);
      if (!info.get(source)) return -EINVAL;
      const error = types.get(frame, PGT_writable_page);
      if (error === 0) {
        info.memory.copyIn(frame * PAGE_SIZE, info.memory.copyOut(source * PAGE_SIZE, PAGE_SIZE));
        types.put(frame);
      }
      info.put(source);
      return error;
    }
    case MMUEXT_FLUSH_CACHE_GLOBAL:
      return -EINVAL;
    case MMUEXT_MARK_SUPER:
    case MMUEXT_UNMARK_SUPER:
      return -EOPNOTSUPP;
    default:
      return -ENOSYS;
  }
}

/**
 * True if a mask of processors can be read: longs, as many as there are processors for. Which of them it names does not
 * matter (tlb.ts), nor does a bit for one that is not there.
 */
function canReadMask(pv: PvDomain, v: PvVcpu, mask: bigint): boolean {
  const { width, long } = pv.abi;
  const bytes = new Uint8Array(Math.ceil(pv.vcpus.length / width) * long);
  return pv.copy.read(v.kernelRoot, BigInt.asUintN(width, mask), bytes);
}

function pin(pv: PvDomain, frame: number, type: number): number {
  const { info, types } = pv;
  const error = types.get(frame, type);
  if (error !== 0) return error;
  if (info.isPinned(frame)) {
    types.put(frame);
    return -EINVAL;
  }
  info.setPinned(frame, true);
  return 0;
}

/** The entries of the hypercall table. */
export function mmuHypercalls(domain: () => PvDomain): HypercallTable {
  return {
    [__HYPERVISOR_mmu_update]: {
      name: 'HYPERVISOR_mmu_update',
      arguments: ['ureqs', 'count', 'pdone', 'foreigndom'],
      status: 'done',
      fast(vcpu, frame) {
        const pv = domain();
        return mmuUpdate(pv, pv.of(vcpu), frame);
      },
    },
    [__HYPERVISOR_update_va_mapping]: {
      name: 'HYPERVISOR_update_va_mapping',
      arguments: ['va', 'val', 'flags'],
      status: 'done',
      fast(vcpu, frame) {
        const pv = domain();
        return frame.finish(updateVaMapping(pv, pv.of(vcpu), frame.words));
      },
    },
    [__HYPERVISOR_update_va_mapping_otherdomain]: {
      name: 'HYPERVISOR_update_va_mapping_otherdomain',
      arguments: ['va', 'val', 'flags', 'domid'],
      status: 'partly',
      note: 'the only domain it takes is the caller',
      fast(vcpu, frame) {
        const pv = domain();
        const error = checkForeignDomain(pv, frame.words[pv.abi.long === 8 ? 6 : 8] & 0xffff);
        return frame.finish(error === 0 ? updateVaMapping(pv, pv.of(vcpu), frame.words) : error);
      },
    },
    [__HYPERVISOR_mmuext_op]: {
      name: 'HYPERVISOR_mmuext_op',
      arguments: ['uops', 'count', 'pdone', 'foreigndom'],
      status: 'done',
      fast(vcpu, frame) {
        const pv = domain();
        return mmuextOp(pv, pv.of(vcpu), frame);
      },
    },
  };
}
