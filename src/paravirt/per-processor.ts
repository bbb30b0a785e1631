/** State of a hypervisor that each processor has its own copy of, as data that a snapshot holds (src/state/). */
import type { State } from '../state/state.ts';
import type { HypervisorContext } from './operations.ts';

/**
 * Makes the state `name` for every processor of the machine. Call it while the hypervisor is made.
 * @returns the states, to be indexed by `cpu.id`
 */
export function perProcessor<T extends object>(
  context: Pick<HypervisorContext, 'cpus' | 'state'>,
  name: string,
  version: number,
  initial: () => T,
): readonly State<T>[] {
  const states: State<T>[] = [];
  for (const { id } of context.cpus) states[id] = context.state(`${name}/${id}`, version, initial);
  return states;
}
