/**
 * HYPERVISOR_multicall (public/xen.h): an array of calls, done in order, each result stored in its entry. A PV guest
 * makes every context switch and every batch of page-table changes this way.
 */
import { type CallFrame, type Outcome, REPLACED, UNFINISHED } from '../call-frame.ts';
import { __HYPERVISOR_multicall, EFAULT, EINVAL } from '../constants.ts';
import type { Vcpu } from '../domain.ts';
import { type HypercallTable, perform } from '../hypercall.ts';

/** Entries done before the guest's interrupts get their turn. */
const BATCH = 256;

/** struct multicall_entry of a guest of one width: 64-bit longs stand in the frame as in memory, 32-bit ones do not. */
interface EntryFormat {
  /** Bytes. */
  size: number;
  /** Offset of `result` in bytes. */
  result: bigint;
  load(vcpu: Vcpu, at: bigint, frame: CallFrame): boolean;
  store(vcpu: Vcpu, at: bigint, frame: CallFrame): boolean;
  storeResult(vcpu: Vcpu, at: bigint, frame: CallFrame): boolean;
}

const narrow = new Uint32Array(8);

const formats: Readonly<Record<32 | 64, EntryFormat>> = {
  64: {
    size: 64,
    result: 8n,
    load: (vcpu, at, { entry }) => vcpu.domain.kind.readWords(vcpu, at, entry, entry.length),
    store: (vcpu, at, { entry }) => vcpu.domain.kind.writeWords(vcpu, at, entry, entry.length),
    storeResult: (vcpu, at, { result }) => vcpu.domain.kind.writeWords(vcpu, at, result, 2),
  },
  32: {
    size: 32,
    result: 4n,
    load(vcpu, at, { entry }) {
      if (!vcpu.domain.kind.readWords(vcpu, at, narrow, narrow.length)) return false;
      for (let i = 0; i < narrow.length; i++) {
        entry[2 * i] = narrow[i];
        entry[2 * i + 1] = 0;
      }
      return true;
    },
    store(vcpu, at, { entry }) {
      for (let i = 0; i < narrow.length; i++) narrow[i] = entry[2 * i];
      return vcpu.domain.kind.writeWords(vcpu, at, narrow, narrow.length);
    },
    storeResult: (vcpu, at, { result }) => vcpu.domain.kind.writeWords(vcpu, at, result, 1),
  },
};

/** @param whole the table that this becomes part of: a multicall reaches all of it. */
export function multicall(whole: () => HypercallTable): HypercallTable {
  return {
    [__HYPERVISOR_multicall]: {
      name: 'HYPERVISOR_multicall',
      arguments: ['call_list', 'nr_calls'],
      status: 'done',
      fast: (vcpu, frame) => (frame === vcpu.multicallEntry ? frame.finish(-EINVAL) : runAll(whole(), vcpu, frame)),
    },
  };
}

function runAll(table: HypercallTable, vcpu: Vcpu, frame: CallFrame): Outcome {
  const entry = vcpu.multicallEntry;
  const format = formats[vcpu.domain.kind.width(vcpu)];
  const list = frame.longs[0];
  const count = frame.words[2];
  for (let i = 0; i < count; i++) {
    const at = list + BigInt(i * format.size);
    if (i === BATCH) return pause(frame, at, count - i);
    if (!format.load(vcpu, at, entry)) return frame.finish(-EFAULT);
    const outcome = perform(table, vcpu, entry);
    if (outcome === REPLACED) return REPLACED;
    if (outcome === UNFINISHED) {
      // The entry itself remembers where to go on: Xen rewrites its arguments in the same way.
      return format.store(vcpu, at, entry) ? pause(frame, at, count - i) : frame.finish(-EFAULT);
    }
    if (!format.storeResult(vcpu, at + format.result, entry)) return frame.finish(-EFAULT);
  }
  return frame.finish(0);
}

/** `count` entries from `list` on are left. */
function pause(frame: CallFrame, list: bigint, count: number): Outcome {
  frame.longs[0] = list;
  frame.longs[1] = BigInt(count);
  return UNFINISHED;
}
