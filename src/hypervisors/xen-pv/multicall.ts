/**
 * HYPERVISOR_multicall, and the way into single hypercalls. A context switch and every batch of page-table changes come as
 * multicalls of a few calls, so those few are done without making objects of their arguments; all others go through the table.
 */
import {
  __HYPERVISOR_fpu_taskswitch,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_multicall,
  __HYPERVISOR_stack_switch,
  __HYPERVISOR_update_va_mapping,
  EFAULT,
  EINVAL,
  ENOSYS,
} from '../xen/constants.ts';
import { Call, type HypercallTable, logUnknown } from '../xen/hypercall.ts';
import { fpuTaskswitch, stackSwitch } from './cpu-hypercalls.ts';
import { mmuextOp, mmuUpdate, rest, updateVaMapping } from './mmu-hypercalls.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** struct multicall_entry: op, result, six arguments, 8 bytes each. */
const ENTRY_SIZE = 64;
const entryWords = new Uint32Array(ENTRY_SIZE / 4);
const entryLongs = new BigUint64Array(entryWords.buffer);
const resultWords = new Uint32Array(2);

/** Entries done before the guest's interrupts get their turn. */
const BATCH = 256;

/** What `runEntry` says of an entry that is not finished, or that replaced the processor's state: no result looks so. */
const UNFINISHED = 2 ** 53;
export const REPLACED = 2 ** 54;

export function pvMulticall(pv: PvDomain, table: () => HypercallTable): HypercallTable {
  return {
    [__HYPERVISOR_multicall]: {
      name: 'HYPERVISOR_multicall',
      arguments: ['call_list', 'nr_calls'],
      status: 'done',
      run(call) {
        if (call.inMulticall) return -EINVAL;
        const result = multicall(pv, pv.of(call.vcpu), table(), call.argument(0), call.uint(1));
        if (result === REPLACED) call.replacedState = true;
        else if (rest.count !== 0) return call.continueWith(rest.list, BigInt(rest.count >>> 0));
        return result === REPLACED ? 0 : result;
      },
    },
  };
}

/** @returns 0, -errno or REPLACED; with `rest.count` not 0 the call is to be continued there. */
export function multicall(pv: PvDomain, v: PvVcpu, table: HypercallTable, list: bigint, count: number): number {
  rest.count = 0;
  for (let i = 0; i < count; i++) {
    const at = list + BigInt(i * ENTRY_SIZE);
    if (i === BATCH) return pause(at, count - i);
    if (!pv.copy.readWords(v.kernelRoot, at, entryWords)) return -EFAULT;
    const result = runEntry(pv, v, table);
    if (result === REPLACED) return REPLACED;
    if (result === UNFINISHED) {
      // The entry itself remembers where to go on: Xen rewrites its arguments just so.
      entryLongs[2] = BigInt.asUintN(64, rest.list);
      entryLongs[3] = BigInt(rest.count >>> 0);
      rest.count = 0;
      if (!pv.copy.writeWords(v.kernelRoot, at, entryWords)) return -EFAULT;
      return pause(at, count - i);
    }
    // A result is a small number of either sign, or, of a few calls, a positive one of more than 32 bits.
    resultWords[0] = result;
    resultWords[1] = Math.floor(result / 2 ** 32);
    if (!pv.copy.writeWords(v.kernelRoot, at + 8n, resultWords)) return -EFAULT;
  }
  return 0;
}

/** Not finished: `count` entries from `list` on are left. */
function pause(list: bigint, count: number): number {
  rest.list = list;
  rest.count = count;
  return 0;
}

/** Runs the call that stands in `entryWords`. */
function runEntry(pv: PvDomain, v: PvVcpu, table: HypercallTable): number {
  switch (entryWords[0]) {
    case __HYPERVISOR_update_va_mapping: {
      const low = entryWords[4];
      const high = entryWords[5];
      const sign = high >>> 15;
      if (sign !== 0 && sign !== 0x1ffff) return -EINVAL;
      return updateVaMapping(pv, v, (high & 0xffff) * 2 ** 20 + (low >>> 12), entryWords[6], entryWords[7]);
    }
    case __HYPERVISOR_mmu_update: {
      const result = mmuUpdate(pv, v, entryLongs[2], entryWords[6], entryLongs[4], entryWords[10]);
      return rest.count === 0 ? result : UNFINISHED;
    }
    case __HYPERVISOR_mmuext_op: {
      const result = mmuextOp(pv, v, entryLongs[2], entryWords[6], entryLongs[4], entryWords[10]);
      return rest.count === 0 ? result : UNFINISHED;
    }
    case __HYPERVISOR_stack_switch:
      return stackSwitch(v, entryWords[4] & 0xffff, entryLongs[3]);
    case __HYPERVISOR_fpu_taskswitch:
      return fpuTaskswitch(v, entryWords[4] !== 0);
    default:
      return runFromTable(v, table);
  }
}

function runFromTable(v: PvVcpu, table: HypercallTable): number {
  const number = entryWords[0];
  const entry = table[number];
  if (!entry) {
    logUnknown(v.vcpu.domain, `hypercall ${number}`);
    return -ENOSYS;
  }
  const call = new Call(v.vcpu, 64, number, Array.from(entryLongs.subarray(2)), true);
  const result = entry.run(call);
  return call.replacedState ? REPLACED : result;
}
