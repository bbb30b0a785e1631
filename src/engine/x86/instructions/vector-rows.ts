/** All rows of MMX, SSE to SSE4.2 and what came with them, and by which CPUID feature each is offered. */

import { avxRows } from './avx.ts';
import { extendedStateRows } from './extended-state.ts';
import { fusedRows } from './fma.ts';
import type { Feature, Row } from './row.ts';
import { shaRows } from './sha.ts';
import { sseRows } from './sse-rows.ts';

export const vectorRows: readonly Row[] = [...sseRows, ...shaRows, ...extendedStateRows, ...avxRows, ...fusedRows];

/** The rows that each CPUID feature promises: what CPUID offers must have rows, and rows a feature that CPUID knows. */
export function rowsByFeature(rows: readonly Row[]): ReadonlyMap<Feature, readonly Row[]> {
  const byFeature = new Map<Feature, Row[]>();
  for (const row of rows) {
    if (!row.feature) continue;
    const list = byFeature.get(row.feature);
    if (list) list.push(row);
    else byFeature.set(row.feature, [row]);
  }
  return byFeature;
}
