/** The hypercall table of both kinds of guest, the one place that dispatches on it, and multicall. */
import { __HYPERVISOR_multicall, EFAULT, EINVAL, ENOSYS } from './constants.ts';
import type { Vcpu } from './domain.ts';
import { argumentRegisters, Call, type HypercallTable, logUnknown } from './hypercall.ts';
import { console_io } from './hypercalls/console-io.ts';
import { event_channel_op } from './hypercalls/event-channel-op.ts';
import { grant_table_op } from './hypercalls/grant-table-op.ts';
import { sched_op } from './hypercalls/sched-op.ts';
import { set_timer_op } from './hypercalls/set-timer-op.ts';
import { vcpu_op } from './hypercalls/vcpu-op.ts';
import { vm_assist } from './hypercalls/vm-assist.ts';
import { xen_version } from './hypercalls/xen-version.ts';
import { structure } from './structures.ts';

const multicall_entry = structure({
  op: 'ulong',
  result: 'ulong',
  arg0: 'ulong',
  arg1: 'ulong',
  arg2: 'ulong',
  arg3: 'ulong',
  arg4: 'ulong',
  arg5: 'ulong',
});

/** Entries of a multicall done before the guest's interrupts get their turn. */
const MULTICALL_BATCH = 256;

/**
 * What both kinds of guest have in the same form. memory_op is in neither: PV and PVH complete `memoryOp` each in its own way.
 * @param whole the table that this becomes part of: a multicall reaches all of it.
 */
export function commonHypercalls(whole: () => HypercallTable): HypercallTable {
  return {
    [__HYPERVISOR_multicall]: {
      name: 'HYPERVISOR_multicall',
      arguments: ['call_list', 'nr_calls'],
      status: 'done',
      run: call => multicall(whole(), call),
    },
    ...set_timer_op,
    ...xen_version,
    ...console_io,
    ...grant_table_op,
    ...vm_assist,
    ...vcpu_op({}),
    ...sched_op,
    ...event_channel_op,
  };
}

/** A hypercall instruction was executed by `vcpu`: does it and stores the result. */
export function hypercall(table: HypercallTable, vcpu: Vcpu, width: 32 | 64): void {
  const { cpu } = vcpu;
  const number = Number(BigInt.asUintN(32, cpu.get('rax')));
  const mask = width === 64 ? 0xffffffffffffffffn : 0xffffffffn;
  const args = argumentRegisters[width].map(name => cpu.get(name) & mask);
  const call = new Call(vcpu, width, number, args);
  const result = run(table, call);
  if (!call.replacedState) cpu.set('rax', BigInt.asUintN(width, BigInt(result)));
}

function run(table: HypercallTable, call: Call): number {
  const entry = table[call.number];
  if (entry) return entry.run(call);
  logUnknown(call.domain, `hypercall ${call.number}`);
  return -ENOSYS;
}

function multicall(table: HypercallTable, call: Call): number {
  if (call.inMulticall) return -EINVAL;
  const layout = multicall_entry[call.width];
  let list = call.argument(0);
  let left = call.uint(1);
  for (let done = 0; left > 0; done++, left--, list += BigInt(layout.size)) {
    if (done === MULTICALL_BATCH) return call.continueWith(list, BigInt(left));
    const bytes = call.read(list, layout.size);
    if (!bytes) return -EFAULT;
    const entry = layout.decode(bytes);
    const args = [entry.arg0, entry.arg1, entry.arg2, entry.arg3, entry.arg4, entry.arg5];
    const inner = new Call(call.vcpu, call.width, Number(BigInt.asUintN(32, entry.op)), args, true);
    const result = run(table, inner);
    if (inner.replacedState) {
      call.replacedState = true;
      return 0;
    }
    if (call.store(list, multicall_entry, { result: BigInt(result) }) < 0) return -EFAULT;
  }
  return 0;
}
