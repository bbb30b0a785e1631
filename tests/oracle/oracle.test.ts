/**
 * The engine against a real processor: every stored case of every row. A row must have cases, or say in `untested` (or by
 * being privileged) why it cannot.
 */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { offered } from '../../src/engine/x86/cpuid.ts';
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { rows } from '../../src/engine/x86/instructions/table.ts';
import { type Deviation, deviations } from './deviations.ts';
import { disassemble } from './disassemble.ts';
import { OracleGuest } from './guest.ts';
import { type Mismatch, runCase } from './run.ts';
import { fileOf, readVectors, rowKey, type Vectors } from './vectors.ts';

/** The decoder leaves out rows of features that CPUID does not offer. */
const unoffered = (row: Row): string | undefined =>
  row.feature && !offered.has(row.feature) ? `${row.feature} is not offered` : undefined;

/** How many mismatches are described in full. */
const SHOWN = 5;

function describeMismatch(row: Row, { test, differences }: Mismatch): string {
  const lines = differences.map(
    d => `    ${d.field}: ${d.before && `was ${d.before}, `}expected ${d.expected}, got ${d.actual}`,
  );
  return [
    `${rowKey(row)}, ${test.mode}-bit, serial ${test.serial}: ${disassemble(test.code, test.mode)}`,
    ...lines,
  ].join('\n');
}

describe('the instruction table against a real processor', () => {
  let vectors: Vectors;
  let guest: OracleGuest;
  const deviated = new Map<Deviation, number>();
  before(() => {
    vectors = readVectors();
    guest = new OracleGuest();
  });

  const files = [...new Set(rows.map(fileOf))].sort();
  for (const file of files)
    it(file, context => {
      let ran = 0;
      let covered = 0;
      const failures: string[] = [];
      let failed = 0;
      for (const row of rows.filter(candidate => fileOf(candidate) === file)) {
        if (unoffered(row)) continue;
        const cases = vectors.get(rowKey(row)) ?? [];
        if (cases.length) covered++;
        for (const test of cases) {
          const mismatch = runCase(guest, row, test);
          ran++;
          if (!mismatch) continue;
          if (mismatch.deviation) {
            deviated.set(mismatch.deviation, (deviated.get(mismatch.deviation) ?? 0) + 1);
            continue;
          }
          failed++;
          if (failures.length < SHOWN) failures.push(describeMismatch(row, mismatch));
        }
      }
      context.diagnostic(`${covered} rows, ${ran} cases`);
      assert.equal(failed, 0, `${failed} of ${ran} cases differ, such as\n${failures.join('\n')}`);
    });

  it('deviates only where it is known to', context => {
    for (const [{ reason }, count] of deviated) context.diagnostic(`${count} cases: ${reason}`);
    const unused = deviations.filter(deviation => !deviated.has(deviation)).map(({ reason }) => reason);
    assert.deepEqual(unused, []);
  });

  it('covers every row, or says why not', context => {
    const reasons = new Map<string, string[]>();
    const silent: string[] = [];
    for (const row of rows) {
      if (vectors.get(rowKey(row))?.length) continue;
      const reason = unoffered(row) ?? row.untested ?? (row.privileged && 'needs CPL 0');
      if (reason) reasons.set(reason, [...(reasons.get(reason) ?? []), row.name]);
      else silent.push(rowKey(row));
    }
    for (const [reason, names] of reasons)
      context.diagnostic(`not covered (${reason}): ${[...new Set(names)].join(' ')}`);
    assert.deepEqual(silent, []);
  });

  it('has no cases for rows that are gone', () => {
    const keys = new Set(rows.map(rowKey));
    assert.deepEqual(
      [...vectors.keys()].filter(key => !keys.has(key)),
      [],
    );
  });
});
