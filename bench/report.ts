/** Tables for people: of times and speeds, and of anything else as text. */
import { geometricMean, median, OURS, peersOf, type Row, speedAgainst, type Table } from './bench.ts';

/** Medians in seconds and our speed in each peer's, a table a group, with the group's geometric mean. */
export function timeTables(rows: readonly Row[]): Table[] {
  const peers = peersOf(rows);
  const speed = (value: number | undefined) => (value === undefined ? '-' : `${value.toFixed(2)} x`);
  const time = (row: Row, who: string) => (row.seconds[who]?.length ? `${median(row.seconds[who]).toFixed(3)} s` : '-');
  return [...new Set(rows.map(({ group }) => group))].map(title => {
    const members = rows.filter(({ group }) => group === title);
    const means = peers.map(peer => {
      const speeds = members.map(row => speedAgainst(peer, row)).filter(value => value !== undefined);
      return ['', speeds.length > 0 ? speed(geometricMean(speeds)) : '-'];
    });
    const lines = members.map(row => [
      row.name,
      time(row, OURS),
      ...peers.flatMap(peer => [time(row, peer), speed(speedAgainst(peer, row))]),
    ]);
    if (members.length > 1 && peers.length > 0) lines.push(['geometric mean', '', ...means.flat()]);
    return { title, header: ['', OURS, ...peers.flatMap(peer => [peer, 'our speed'])], rows: lines };
  });
}

export function formatTable({ title, header, rows }: Table): string {
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map(line => line[column]?.length ?? 0)));
  const format = (line: readonly string[]) =>
    `  ${line.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('  ')}`;
  return [title, ...[header, ...rows].map(format)].map(line => line.trimEnd()).join('\n');
}
