/** `--engine both`: two machines with the same guest, one on each tier, that are compared as they run. */

import { backEndsOf } from './host/back-ends.ts';
import { type Assembled, compareMachines, differenceOf } from './machine/compare-machines.ts';
import type { Machine, MachineOptions } from './machine/options.ts';

export async function compareTiers(
  options: MachineOptions,
  assemble: (options: MachineOptions) => Promise<Assembled>,
): Promise<Machine> {
  if (options.clock !== undefined && options.clock !== 'virtual')
    throw new Error('--engine both compares runs that repeat exactly: use it with --clock virtual');
  if (backEndsOf(options).disks.some(disk => !disk.readOnly))
    throw new Error('--engine both writes nothing twice: give disks as read-only');
  if (backEndsOf(options).networks.length > 0)
    throw new Error('--engine both sends nothing twice: give it no networks');
  if (backEndsOf(options).serial) throw new Error('--engine both sends nothing twice: give it no second serial port');
  const shared: MachineOptions = { ...options, clock: 'virtual' };
  const translated = await assemble({ ...shared, engine: 'jit' });
  const interpreted = await assemble({
    ...shared,
    engine: 'interpreter',
    console: { write: () => {}, onInput: () => {} },
  });
  return compareMachines(interpreted, translated, {
    what: 'the tiers',
    difference: differenceOf(['interpreted', 'translated']),
  });
}
