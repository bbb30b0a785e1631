/** The hypercalls that both kinds of guest have, and the way from a hypercall instruction into the table. */
import { DONE, UNFINISHED } from './call-frame.ts';
import type { Vcpu } from './domain.ts';
import { argumentRegisters, type HypercallTable, perform } from './hypercall.ts';
import { console_io } from './hypercalls/console-io.ts';
import { event_channel_op } from './hypercalls/event-channel-op.ts';
import { grant_table_op } from './hypercalls/grant-table-op.ts';
import { multicall } from './hypercalls/multicall.ts';
import { privileged } from './hypercalls/privileged.ts';
import { sched_op } from './hypercalls/sched-op.ts';
import { set_timer_op } from './hypercalls/set-timer-op.ts';
import { vm_assist } from './hypercalls/vm-assist.ts';
import { xen_version } from './hypercalls/xen-version.ts';

/**
 * What both kinds of guest have in the same form. memory_op and vcpu_op are in neither: PV and PVH complete these each in
 * its own way.
 * @param whole the table that this becomes part of: a multicall reaches all of it.
 */
export function commonHypercalls(whole: () => HypercallTable): HypercallTable {
  return {
    ...multicall(whole),
    ...set_timer_op,
    ...xen_version,
    ...console_io,
    ...grant_table_op,
    ...vm_assist,
    ...sched_op,
    ...event_channel_op,
    ...privileged,
  };
}

/**
 * A hypercall instruction was executed by `vcpu`: does it and stores the result, or has it repeated for what is left.
 */
export function hypercall(table: HypercallTable, vcpu: Vcpu): void {
  const { cpu, call } = vcpu;
  const { kind } = vcpu.domain;
  const width = kind.width(vcpu);
  const registers = argumentRegisters[width];
  call.op[0] = cpu.get('rax');
  // The entries name a 64-bit caller's arguments: a 32-bit one passes a 64-bit value in two.
  const count = width === 32 ? registers.length : (table[call.number]?.arguments.length ?? 0);
  for (let i = 0; i < count; i++) {
    call.longs[i] = cpu.get(registers[i]!);
    if (width === 32) call.words[2 * i + 1] = 0;
  }
  const outcome = perform(table, vcpu, call);
  if (outcome === DONE) {
    const { result } = call;
    cpu.set('rax', result[1] === 0 || width === 32 ? BigInt(result[0]) : wide(result[0], result[1]));
  } else if (outcome === UNFINISHED) {
    for (let i = 0; i < count; i++) cpu.set(registers[i]!, call.longs[i]);
    cpu.set('rip', BigInt.asUintN(width, cpu.get('rip') - BigInt(kind.hypercallLength)));
  }
}

const wide = (low: number, high: number) => (BigInt(high) << 32n) | BigInt(low);
