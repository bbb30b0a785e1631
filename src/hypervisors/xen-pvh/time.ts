/** Keeps the guest's time records true when the host has held the machine up. */
import type { TimeOps } from '../../paravirt/operations.ts';
import type { PvhDomain } from './pvh-domain.ts';

export function createTime(state: () => PvhDomain | undefined): Partial<TimeOps> {
  return { resumed: cpu => state()?.of(cpu).time.updateRecord() };
}
