/** The cells of a matrix dealt to machines that know nothing of each other: each computes the same deal and runs its own share. */

/** A share of a matrix: the `index`th of `count`, from 1. */
export interface Share {
  index: number;
  count: number;
}

/**
 * Deals cells to shards, the longest first, each to the shard that has least to do so far (Graham's rule: no shard takes more than 4/3
 * of the best there could be). The same costs give the same deal; every cell is in exactly one shard.
 * @param costs of the cells, in any unit, 0 for those that are not booted
 * @returns for each shard the places of its cells, rising
 */
export function dealCells(costs: readonly number[], count: number): number[][] {
  const shards = Array.from({ length: count }, () => ({ cost: 0, cells: [] as number[] }));
  for (const cell of longestFirst(costs)) {
    const least = shards.reduce((best, shard) =>
      shard.cost < best.cost || (shard.cost === best.cost && shard.cells.length < best.cells.length) ? shard : best,
    );
    least.cost += costs[cell]!;
    least.cells.push(cell);
  }
  return shards.map(({ cells }) => cells.sort((a, b) => a - b));
}

/** The places of `costs`, those of the highest first; of equal ones the earlier. */
export function longestFirst(costs: readonly number[]): number[] {
  return [...costs.keys()].sort((a, b) => costs[b]! - costs[a]! || a - b);
}
