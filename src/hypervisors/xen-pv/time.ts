/** Keeps the guest's time records true when the host has held the machine up. */
import type { TimeOps } from '../../paravirt/operations.ts';
import type { PvDomain } from './pv-domain.ts';

export function createTime(state: () => PvDomain): Partial<TimeOps> {
  return { resumed: cpu => state().vcpus[cpu.id]!.vcpu.time.updateRecord() };
}
