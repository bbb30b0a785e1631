/**
 * What stands behind a machine's devices on the host. It is passed whole: the board and the hypervisors each take the
 * kinds they have devices for, so that a new kind is a member here and a device there.
 */
import type { Disk } from './disk.ts';
import type { Network } from './network.ts';

export interface BackEnds {
  readonly disks: readonly Disk[];
  readonly networks: readonly Network[];
}

export const NO_BACK_ENDS: BackEnds = { disks: [], networks: [] };

/** All back ends that a machine's options name. */
export function backEndsOf(options: { disks?: readonly Disk[]; backEnds?: Partial<BackEnds> }): BackEnds {
  const { disks = [], networks = [] } = options.backEnds ?? {};
  return { disks: [...(options.disks ?? []), ...disks], networks };
}
