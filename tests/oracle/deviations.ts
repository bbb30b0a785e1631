/**
 * Where the engine knowingly does not as the processor the vectors were made on. Each has its reason; a mismatch that none
 * of these covers fails the test, and so does a deviation that no longer occurs.
 */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import type { Difference } from './image-text.ts';
import type { Case } from './vectors.ts';

export interface Deviation {
  reason: string;
  covers(row: Row, test: Case, differences: readonly Difference[]): boolean;
}

const only = (differences: readonly Difference[], ...fields: string[]): boolean =>
  differences.every(({ field }) => fields.includes(field));

export const deviations: readonly Deviation[] = [
  {
    reason:
      'RETF n on a 16-bit stack: SP wraps, as the manuals have it; the processor at hand carries into the upper half of ESP',
    covers: (row, _test, differences) => row.name === 'retf' && only(differences, 'rsp'),
  },
  {
    reason:
      'a far transfer to compatibility mode with RSP above 4 GiB: the kernel under the harness clears its upper half',
    covers: (row, test, differences) =>
      test.mode === 64 && /^(jmpf|callf)$/.test(row.name) && differences.some(({ field }) => field === 'rsp'),
  },
];
