/** What has changed since the baseline, for people: what all of a kernel's cells share is the kernel's, and said once. */
import { formatShare } from './format.ts';
import type { CellResult, Change, MatrixReport } from './result.ts';

export interface ChangeGroup {
  kernel: string;
  /** The cells that it is said of. */
  hypervisors: string[];
  changes: Change[];
}

/** Groups in the order of kernels; what a kernel's cells share first, then what is one cell's alone. */
export function groupChanges({ kernels, cells }: Pick<MatrixReport, 'kernels' | 'cells'>): ChangeGroup[] {
  const groups: ChangeGroup[] = [];
  for (const { name } of kernels) {
    const changed = cells.filter(({ kernel, changes }) => kernel === name && changes);
    // A cell without a change, or with other tests, shares nothing.
    const compared = cells.filter(({ kernel, phases }) => kernel === name && phases.length > 0);
    const shared =
      changed.length > 1 && changed.length === compared.length
        ? changed[0]!.changes!.map(keyOf).filter(key => changed.every(cell => find(cell, key)))
        : [];
    const merged = shared.map(key => merge(changed.map(cell => find(cell, key)!)));
    const hypervisors = changed.map(({ hypervisor }) => hypervisor);
    if (merged.length > 0) groups.push({ kernel: name, hypervisors, changes: merged });
    for (const { hypervisor, changes } of changed) {
      const own = changes!.filter(change => !shared.includes(keyOf(change)));
      if (own.length > 0) groups.push({ kernel: name, hypervisors: [hypervisor], changes: own });
    }
  }
  return groups;
}

/** A cell may gain or lose several features and complaints: those are told apart by what they are. */
function keyOf({ what, before, after, worse }: Change): string {
  return `${worse} ${what === 'feature' || what === 'complaint' ? `${what} ${before} ${after}` : what}`;
}

const find = ({ changes }: CellResult, key: string) => changes?.find(change => keyOf(change) === key);

/** One change of several: their values where these are the same, or by what share the costs went up or down. */
function merge(changes: readonly Change[]): Change {
  const [first] = changes as [Change];
  if (changes.every(({ before, after }) => before === first.before && after === first.after)) return first;
  const { what, worse } = first;
  const shares = changes.flatMap(({ share }) => share ?? []);
  if (shares.length < changes.length)
    return { what, worse, before: list(changes, 'before'), after: list(changes, 'after') };
  const [least, most] = [formatShare(Math.min(...shares)), formatShare(Math.max(...shares))];
  return { what, worse, before: '', after: least === most ? least : `${least} to ${most}` };
}

const list = (changes: readonly Change[], key: 'before' | 'after') =>
  [...new Set(changes.map(change => change[key]))].join(', ');

/** `82.0 M → 95.1 M (+16 %)`, or what stands for several of these. */
export function describeChange({ before, after }: Change, arrow = '→'): string {
  return before === '' ? after : `${before} ${arrow} ${after}`;
}
