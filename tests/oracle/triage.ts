/**
 * Development: runs all stored cases and counts what differs, by row and field, most frequent first, with an example each:
 * `node dist/tests/oracle/triage.js [WORD] [EXAMPLES] [FOLDER] [--jit]`.
 */
import { offered } from '../../src/engine/x86/cpuid.ts';
import { rows } from '../../src/engine/x86/instructions/table.ts';
import { disassembleAll } from './disassemble.ts';
import { OracleGuest } from './guest.ts';
import { MODES } from './layout.ts';
import { type Mismatch, runCase, type Tier } from './run.ts';
import { FOLDER, fileOf, readVectors, rowKey } from './vectors.ts';

const tier: Tier = process.argv.includes('--jit') ? 'jit' : 'interpreter';
const [word = '', examples = '1', folder = FOLDER] = process.argv.slice(2).filter(argument => argument !== '--jit');
const vectors = readVectors(folder);
const guest = new OracleGuest(tier === 'jit');
const found: { key: string; ran: number; mismatches: Mismatch[] }[] = [];
let total = 0;
let failed = 0;
let known = 0;
let skipped = 0;
const started = Date.now();
for (const row of rows) {
  const key = rowKey(row);
  if (!key.includes(word) && !fileOf(row).includes(word)) continue;
  if (row.feature && !offered.has(row.feature)) continue;
  const cases = vectors.get(key) ?? [];
  const mismatches: Mismatch[] = [];
  for (const test of cases) {
    let mismatch: Mismatch | 'not run' | undefined;
    try {
      mismatch = runCase(guest, row, test, tier);
    } catch (error) {
      const trouble = error instanceof Error ? error.message : String(error);
      mismatch = {
        test,
        deviation: undefined,
        differences: [{ field: `throws ${trouble}`, before: '', expected: '', actual: '' }],
      };
    }
    if (mismatch === 'not run') {
      skipped++;
      continue;
    }
    if (mismatch && !mismatch.deviation) mismatches.push(mismatch);
    if (mismatch?.deviation) known++;
  }
  total += cases.length;
  failed += mismatches.length;
  if (mismatches.length) found.push({ key, ran: cases.length, mismatches });
}
found.sort((x, y) => y.mismatches.length - x.mismatches.length);
console.log(
  `${failed} of ${total} cases differ, in ${found.length} rows; ${known} more by known deviations, ${skipped} not run; ${((Date.now() - started) / 1000).toFixed(1)} s`,
);
const shown = found.flatMap(({ mismatches }) => mismatches.slice(0, Number(examples)).map(({ test }) => test));
const texts = new Map(
  MODES.flatMap(mode => {
    const tests = shown.filter(test => test.mode === mode);
    const lines = disassembleAll(
      tests.map(test => test.code),
      mode,
    );
    return tests.map((test, i) => [test, lines[i]!] as const);
  }),
);
for (const { key, ran, mismatches } of found) {
  console.log(`\n${key}: ${mismatches.length} of ${ran}`);
  const fields = new Map<string, number>();
  for (const { differences } of mismatches)
    for (const { field } of differences) fields.set(field, (fields.get(field) ?? 0) + 1);
  console.log(
    `  ${[...fields]
      .map(([field, count]) => `${field} ${count}`)
      .slice(0, 12)
      .join(', ')}`,
  );
  for (const { test, differences } of mismatches.slice(0, Number(examples))) {
    console.log(`  ${test.mode}-bit serial ${test.serial}  ${texts.get(test)}`);
    for (const d of differences)
      console.log(`    ${d.field}: was ${d.before}, expected ${d.expected}, got ${d.actual}`);
  }
}
