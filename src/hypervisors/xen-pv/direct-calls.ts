/**
 * The few hypercalls that a guest makes all the time, straight from the registers. What they do stands where it always does; the
 * table (hypercalls.ts) reaches it too, by way of an object for the arguments that these calls do without.
 */
import {
  __HYPERVISOR_iret,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_multicall,
  __HYPERVISOR_set_segment_base,
  __HYPERVISOR_stack_switch,
  __HYPERVISOR_update_va_mapping,
  EINVAL,
} from '../xen/constants.ts';
import type { HypercallTable } from '../xen/hypercall.ts';
import { hypercall } from '../xen/hypercalls.ts';
import { setSegmentBase, stackSwitch } from './cpu-hypercalls.ts';
import { mmuextOp, mmuUpdate, rest, updateVaMapping } from './mmu-hypercalls.ts';
import { multicall, REPLACED } from './multicall.ts';
import { pageNumberOf } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';
import { iret } from './traps.ts';

const low32 = (value: bigint) => Number(value & 0xffffffffn);

/** SYSCALL in guest kernel mode: does the hypercall whose number is in RAX and stores its result there. */
export function hypercallFromRegisters(pv: PvDomain, v: PvVcpu, table: HypercallTable): void {
  const { cpu } = v;
  let result: number;
  switch (low32(cpu.get('rax'))) {
    case __HYPERVISOR_iret:
      return iret(pv, v);
    case __HYPERVISOR_mmu_update:
      result = mmuUpdate(pv, v, cpu.get('rdi'), low32(cpu.get('rsi')), cpu.get('rdx'), low32(cpu.get('r10')));
      break;
    case __HYPERVISOR_mmuext_op:
      result = mmuextOp(pv, v, cpu.get('rdi'), low32(cpu.get('rsi')), cpu.get('rdx'), low32(cpu.get('r10')));
      break;
    case __HYPERVISOR_multicall:
      result = multicall(pv, v, table, cpu.get('rdi'), low32(cpu.get('rsi')));
      if (result === REPLACED) return;
      break;
    case __HYPERVISOR_update_va_mapping: {
      const pageNumber = pageNumberOf(cpu.get('rdi'));
      const value = cpu.get('rsi');
      rest.count = 0;
      result =
        pageNumber === undefined ? -EINVAL : updateVaMapping(pv, v, pageNumber, low32(value), Number(value >> 32n));
      break;
    }
    case __HYPERVISOR_stack_switch:
      rest.count = 0;
      result = stackSwitch(v, Number(cpu.get('rdi') & 0xffffn), cpu.get('rsi'));
      break;
    case __HYPERVISOR_set_segment_base:
      rest.count = 0;
      result = setSegmentBase(pv, v, low32(cpu.get('rdi')), cpu.get('rsi'));
      break;
    default:
      return hypercall(table, v.vcpu, 64);
  }
  if (rest.count !== 0) return repeat(pv, v);
  cpu.set('rax', result === 0 ? 0n : BigInt.asUintN(64, BigInt(result)));
}

/** Lets the guest's interrupts have their turn and then makes the same call for what is left (as Call.continueWith). */
function repeat(pv: PvDomain, v: PvVcpu): void {
  v.cpu.set('rdi', BigInt.asUintN(64, rest.list));
  v.cpu.set('rsi', BigInt(rest.count >>> 0));
  v.cpu.set('rip', v.cpu.get('rip') - BigInt(pv.domain.kind.hypercallLength));
}
