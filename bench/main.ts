/** npm run bench -- [NAME...] [--runs N] [--json FILE]: runs benchmarks and prints medians, and ratios to the peers. */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { type Bench, median, type Row } from './bench.ts';
import { boot } from './boot.ts';

/** All there are; a new one is a file and a line here. */
const benches: readonly Bench[] = [boot];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '3' }, json: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
});
const names = benches.map(({ name }) => name);
const unknown = positionals.filter(name => !names.includes(name));
const runs = Number(values.runs);
if (values.help || unknown.length > 0 || !Number.isInteger(runs) || runs < 1) {
  process.stderr.write(`npm run bench -- [NAME...] [--runs N] [--json FILE]\n`);
  for (const { name, title } of benches) process.stderr.write(`  ${name.padEnd(10)} ${title}\n`);
  process.exit(values.help ? 0 : 64);
}

const results = [];
for (const bench of benches.filter(({ name }) => positionals.length === 0 || positionals.includes(name))) {
  const notes: string[] = [];
  const progress = (text: string) => void process.stderr.write(`${bench.name}: ${text}\n`);
  const rows = await bench.run({ runs, progress, note: text => void notes.push(text) });
  results.push({ name: bench.name, title: bench.title, notes, rows: rows.map(row => ({ ...row, ...summary(row) })) });
  process.stdout.write(
    `\n${bench.name}: ${bench.title}\n${table(rows)}\n${notes.map(note => `  ${note}`).join('\n')}\n`,
  );
}
if (values.json) {
  const host = { node: process.version, processor: cpus()[0]?.model, processors: cpus().length };
  writeFileSync(values.json, `${JSON.stringify({ host, runs, results }, null, 2)}\n`);
}

/** Medians in seconds, and how many times a peer's ours is. */
function summary({ seconds }: Row) {
  const medians = Object.fromEntries(Object.entries(seconds).map(([peer, values]) => [peer, median(values)]));
  const { polyvisor, ...peers } = medians;
  const ratios = Object.fromEntries(Object.entries(peers).map(([peer, value]) => [peer, polyvisor / value]));
  return { medians, ratios };
}

function table(rows: readonly Row[]): string {
  const peers = [...new Set(rows.flatMap(({ seconds }) => Object.keys(seconds)))];
  const header = ['', ...peers.flatMap(peer => (peer === 'polyvisor' ? [peer] : [peer, 'ratio']))];
  const lines = rows.map(row => {
    const { medians, ratios } = summary(row);
    const cell = (peer: string) => (peer in medians ? `${medians[peer].toFixed(2)} s` : '-');
    const ratio = (peer: string) => (peer in ratios ? `${ratios[peer].toFixed(2)} x` : '-');
    return [row.name, ...peers.flatMap(peer => (peer === 'polyvisor' ? [cell(peer)] : [cell(peer), ratio(peer)]))];
  });
  const widths = header.map((_, column) => Math.max(...[header, ...lines].map(line => line[column].length)));
  const format = (line: string[]) =>
    `  ${line.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('  ')}`;
  return [header, ...lines].map(format).join('\n');
}
