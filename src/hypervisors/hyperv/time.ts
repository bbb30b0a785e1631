/** Time under Hyper-V: reference time, and the synthetic timers that are set in it. */
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { createReferenceTime } from './reference-time.ts';
import type { Synic } from './synic.ts';
import { createTimers } from './timers.ts';

export function createTime(context: HypervisorContext, synic: Synic): Group<'time'> {
  const { msrs, tscMoved } = createReferenceTime(context);
  return { tscMoved, msrs: { ...msrs, ...createTimers(context, synic) } };
}
