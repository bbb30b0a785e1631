/**
 * The engine against a real processor: every stored case of every row. A row must have cases, or say in `untested` (or by
 * being privileged) why it cannot.
 */
import assert from 'node:assert/strict';
import { before, describe, it, type TestContext } from 'node:test';
import { offered } from '../../src/engine/x86/cpuid.ts';
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { rows } from '../../src/engine/x86/instructions/table.ts';
import { wantedCases } from './conduct.ts';
import { type Deviation, deviations } from './deviations.ts';
import { disassemble } from './disassemble.ts';
import { OracleGuest } from './guest.ts';
import { MODES } from './layout.ts';
import { type Mismatch, runCase, type Tier } from './run.ts';
import { type Case, fileOf, readVectors, rowKey } from './vectors.ts';

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

/**
 * How many cases of a row go through the second tier, which compiles a module for each; and how many regions a row that makes at
 * least. Fewer than half of the cases in 32-bit code have flat segments, which it wants. Rows of AVX, which are made from others, have
 * `derived` cases.
 */
const TRANSLATED = [
  { mode: 64, cases: 8, derived: 2, regions: 2 },
  { mode: 32, cases: 16, derived: 1, regions: 0.8 },
] as const;

/** All of a row's cases, or `limit` of them spread evenly. */
function sample(cases: readonly Case[], limit: number): Case[] {
  const step = Math.max(1, Math.floor(cases.length / limit));
  return cases.filter((_, i) => i % step === 0);
}

describe('the instruction table against a real processor', () => {
  const vectors = readVectors();
  const deviated = new Map<Deviation, number>();

  /** Runs what `choose` takes of the cases of a file's rows. */
  const check = (
    context: TestContext,
    file: string,
    guest: OracleGuest,
    tier: Tier,
    choose: (all: Case[], row: Row) => Case[],
  ) => {
    let ran = 0;
    let covered = 0;
    let failed = 0;
    const failures: string[] = [];
    for (const row of rows) {
      if (fileOf(row) !== file || unoffered(row)) continue;
      const before = ran;
      for (const test of choose(vectors.get(rowKey(row)) ?? [], row)) {
        const mismatch = runCase(guest, row, test, tier);
        if (mismatch === 'not run') continue;
        ran++;
        if (!mismatch) continue;
        if (mismatch.deviation) {
          deviated.set(mismatch.deviation, (deviated.get(mismatch.deviation) ?? 0) + 1);
          continue;
        }
        failed++;
        if (failures.length < SHOWN) failures.push(describeMismatch(row, mismatch));
      }
      if (ran > before) covered++;
    }
    context.diagnostic(`${covered} rows, ${ran} cases`);
    assert.equal(failed, 0, `${failed} of ${ran} cases differ, such as\n${failures.join('\n')}`);
  };

  const files = [...new Set(rows.map(fileOf))].sort();
  describe('interpreted', () => {
    let guest: OracleGuest;
    before(() => void (guest = new OracleGuest()));
    for (const file of files) it(file, context => check(context, file, guest, 'interpreter', all => all));
  });
  for (const { mode, cases, derived, regions: aRow } of TRANSLATED)
    describe(`translated ${mode}-bit code`, () => {
      let guest: OracleGuest;
      before(() => void (guest = new OracleGuest(true)));
      const choose = (all: Case[], { unit }: Row) =>
        sample(
          all.filter(test => test.mode === mode),
          unit === 'avx' ? derived : cases,
        );
      for (const file of files) it(file, context => check(context, file, guest, 'jit', choose));
      it('translates', context => {
        const { regions } = guest.engine.jit!.statistics;
        context.diagnostic(`${regions} regions`);
        assert.ok(regions >= aRow * rows.length, 'the second tier leaves nearly all to the first');
      });
    });

  it('deviates only where it is known to', context => {
    for (const [{ reason }, count] of deviated) context.diagnostic(`${count} cases: ${reason}`);
    const unused = deviations.filter(deviation => !deviated.has(deviation)).map(({ reason }) => reason);
    assert.deepEqual(unused, []);
  });

  it('covers every row, or says why not', context => {
    const reasons = new Map<string, string[]>();
    const wanting: string[] = [];
    for (const row of rows) {
      const cases = vectors.get(rowKey(row))?.length ?? 0;
      const wanted = MODES.reduce((sum, mode) => sum + wantedCases(row, mode), 0);
      if (wanted && cases >= wanted) continue;
      const reason = unoffered(row) ?? (wanted ? undefined : row.untested);
      if (reason) reasons.set(reason, [...(reasons.get(reason) ?? []), row.name]);
      else wanting.push(`${rowKey(row)}: ${cases} of ${wanted} cases`);
    }
    const total = [...vectors.values()].reduce((sum, cases) => sum + cases.length, 0);
    context.diagnostic(`${total} cases for ${vectors.size} of ${rows.length} rows`);
    for (const [reason, names] of reasons)
      context.diagnostic(`not covered (${reason}): ${[...new Set(names)].join(' ')}`);
    assert.deepEqual(wanting, [], 'npm run vectors makes the missing ones');
  });

  it('has no cases for rows that are gone', () => {
    const keys = new Set(rows.map(rowKey));
    const gone = [...vectors.keys()].filter(key => !keys.has(key));
    assert.deepEqual(gone, []);
  });
});
