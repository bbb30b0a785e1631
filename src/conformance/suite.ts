/** One case of the suite on one hypervisor, as a result instead of an exception. */
import type { HypervisorModule } from '../paravirt/operations.ts';
import { cases, skipReason } from './cases.ts';
import { bootFixture, createFixture } from './fixture.ts';

export interface CheckResult {
  name: string;
  result: 'passed' | 'failed' | 'skipped';
  /** Why not passed. */
  reason?: string;
}

export const checkNames: readonly string[] = cases.map(({ name }) => name);

/** @param fault why the hypervisor's guest was ended by its own mistake meanwhile, if it was */
export async function check(
  module: HypervisorModule,
  name: string,
  fault: () => string | undefined,
): Promise<CheckResult> {
  const found = cases.find(entry => entry.name === name)!;
  try {
    const skip = skipReason(found, createFixture(module, found.processors));
    if (skip !== undefined) return { name, result: 'skipped', reason: skip };
    const boot = () => bootFixture(module, found.processors);
    await found.run(await boot(), boot);
    const reason = fault();
    return reason === undefined ? { name, result: 'passed' } : { name, result: 'failed', reason };
  } catch (error) {
    return { name, result: 'failed', reason: fault() ?? (error instanceof Error ? error.message : String(error)) };
  }
}
