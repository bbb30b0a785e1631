/**
 * The report in Markdown: for a pull request's comment or a CI system's summary. Text of guests, files and plug-ins goes through
 * escape.ts wherever it stands.
 */
import { describeChange, groupChanges } from './changes.ts';
import { escapeMarkdown, markdownBlock } from './escape.ts';
import { formatCount, formatSeconds, plural } from './format.ts';
import { type CellResult, isGood, type MatrixReport } from './result.ts';
import { summarise, testNames, wentWrongIn, whereRan } from './summary.ts';

export function markdownReport(report: MatrixReport): string {
  const { kernels, hypervisors, cells } = report;
  const names = hypervisors.map(({ name }) => name);
  const find = (kernel: string, hypervisor: string) =>
    cells.find(cell => cell.kernel === kernel && cell.hypervisor === hypervisor);
  const parts = [
    `## Polyvisor matrix: ${summarise(report)}\n`,
    row(['kernel', ...names.map(escapeMarkdown)]),
    rule(1 + names.length),
  ];
  for (const { name } of kernels)
    parts.push(row([escapeMarkdown(name), ...names.map(hypervisor => short(find(name, hypervisor)))]));

  const bad = cells.filter(({ verdict }) => !isGood(verdict));
  if (bad.length > 0) parts.push('\n### What went wrong\n');
  for (const cell of bad) {
    const where = whereRan(report, cell);
    parts.push(
      `\n${escapeMarkdown(`${cell.kernel} on ${cell.hypervisor}`)}: **${cell.verdict}**: ${escapeMarkdown(cell.reason)}${where ? ` (${escapeMarkdown(where)})` : ''}\n`,
    );
    if (cell.repeat !== undefined) parts.push('\nOnce more:\n\n', markdownBlock(cell.repeat));
    const last = lastLines(cell.console, 8);
    if (last) parts.push(`\n${markdownBlock(last)}`);
  }

  if (report.baseline) {
    const { date, polyvisor, tolerance, notes } = report.baseline;
    parts.push(
      `\n### Against the baseline of ${escapeMarkdown(date.slice(0, 10))} (polyvisor ${escapeMarkdown(polyvisor)}, tolerance ${tolerance * 100} %)\n\n`,
    );
    for (const note of notes) parts.push(`- ${escapeMarkdown(note)}\n`);
    const groups = groupChanges(report);
    if (groups.length === 0) parts.push('- nothing has changed\n');
    for (const { kernel, hypervisors, changes } of groups) {
      parts.push(`\n${escapeMarkdown(`${kernel} on ${hypervisors.join(', ')}`)}:\n\n`);
      for (const change of changes)
        parts.push(
          `- ${change.worse ? '**worse**: ' : ''}${escapeMarkdown(change.what)}: ${escapeMarkdown(describeChange(change))}\n`,
        );
    }
  }

  const booted = cells.filter(({ phases }) => phases.length > 0);
  if (booted.length > 0) {
    parts.push('\n### What it cost\n\n', row(['cell', 'found', 'clocksource', 'time', 'instructions', 'to the test']));
    parts.push(rule(6));
    for (const cell of booted) {
      const boot = cell.phases.filter(({ phase }) => phase !== 'test' && phase !== 'power-off');
      parts.push(
        row([
          escapeMarkdown(`${cell.kernel} ${cell.hypervisor}`),
          escapeMarkdown(cell.found.hypervisor ?? cell.found.platform ?? ''),
          escapeMarkdown(cell.found.clocksource ?? ''),
          formatSeconds(cell.total.hostTime),
          formatCount(cell.total.instructions),
          formatCount(boot.reduce((sum, { instructions }) => sum + instructions, 0)),
        ]),
      );
    }
  }
  if (report.shards) {
    parts.push(`\nRun in ${plural(report.shards.length, 'shard')}:\n\n`);
    for (const { index, host, wallTime } of report.shards) {
      const own = cells.filter(({ shard }) => shard === index);
      parts.push(
        `- shard ${index}, ${escapeMarkdown(host)}: ${plural(own.length, 'cell')} in ${formatSeconds(wallTime)}\n`,
      );
    }
  }
  const tests = testNames(cells);
  if (tests.length > 1) parts.push(`\n${plural(tests.length, 'test')}: ${tests.map(escapeMarkdown).join(', ')}.\n`);
  return parts.join('');
}

function short(cell: CellResult | undefined): string {
  if (!cell) return '';
  if (cell.verdict === 'passed') return `✅ ${formatSeconds(cell.total.hostTime)}`;
  if (cell.verdict === 'not built for it') return '➖ not built for it';
  const phase = wentWrongIn(cell);
  return `❌ ${cell.verdict}${phase ? ` in ${phase}` : ''}`;
}

export function lastLines(text: string, count: number): string {
  const lines = text
    .replaceAll('\r', '')
    .split('\n')
    .filter(line => line.trim() !== '');
  return lines.slice(-count).join('\n');
}

/** @param cells Markdown */
function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |\n`;
}

/** The line below a table's head. */
function rule(columns: number): string {
  return `| ${Array.from({ length: columns }, () => '---').join(' | ')} |\n`;
}
