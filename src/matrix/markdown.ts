/** The report in Markdown: for a pull request's comment or a CI system's summary. */
import { describeChange, groupChanges } from './changes.ts';
import { formatCount, formatSeconds, plural } from './format.ts';
import { type CellResult, isGood, type MatrixReport } from './result.ts';
import { summarise, testNames } from './summary.ts';

export function markdownReport(report: MatrixReport): string {
  const { kernels, hypervisors, cells } = report;
  const names = hypervisors.map(({ name }) => name);
  const find = (kernel: string, hypervisor: string) =>
    cells.find(cell => cell.kernel === kernel && cell.hypervisor === hypervisor);
  const parts = [
    `## Polyvisor matrix: ${summarise(report)}\n`,
    row(['kernel', ...names]),
    row(['---', ...names.map(() => '---')]),
  ];
  for (const { name } of kernels) parts.push(row([name, ...names.map(hypervisor => short(find(name, hypervisor)))]));

  const bad = cells.filter(({ verdict }) => !isGood(verdict));
  if (bad.length > 0) parts.push('\n### What went wrong\n');
  for (const cell of bad) {
    parts.push(`\n**${escapeText(cell.kernel)} on ${cell.hypervisor}**: ${cell.verdict}: ${escapeText(cell.reason)}\n`);
    const last = lastLines(cell.console, 8);
    if (last) parts.push(`\n\`\`\`\`text\n${last}\n\`\`\`\`\n`);
  }

  if (report.baseline) {
    const { date, polyvisor, tolerance, notes } = report.baseline;
    parts.push(
      `\n### Against the baseline of ${date.slice(0, 10)} (polyvisor ${polyvisor}, tolerance ${tolerance * 100} %)\n\n`,
    );
    for (const note of notes) parts.push(`- ${escapeText(note)}\n`);
    const groups = groupChanges(report);
    if (groups.length === 0) parts.push('- nothing has changed\n');
    for (const { kernel, hypervisors, changes } of groups) {
      parts.push(`\n${escapeText(kernel)} on ${hypervisors.join(', ')}:\n\n`);
      for (const change of changes)
        parts.push(
          `- ${change.worse ? '**worse**: ' : ''}${escapeText(change.what)}: ${escapeText(describeChange(change))}\n`,
        );
    }
  }

  const booted = cells.filter(({ phases }) => phases.length > 0);
  if (booted.length > 0) {
    parts.push('\n### What it cost\n\n', row(['cell', 'found', 'clocksource', 'time', 'instructions', 'to the test']));
    parts.push(row(Array.from({ length: 6 }, () => '---')));
    for (const cell of booted) {
      const boot = cell.phases.filter(({ phase }) => phase !== 'test' && phase !== 'power-off');
      parts.push(
        row([
          `${cell.kernel} ${cell.hypervisor}`,
          cell.found.hypervisor ?? cell.found.platform ?? '',
          cell.found.clocksource ?? '',
          formatSeconds(cell.total.hostTime),
          formatCount(cell.total.instructions),
          formatCount(boot.reduce((sum, { instructions }) => sum + instructions, 0)),
        ]),
      );
    }
  }
  const tests = testNames(cells);
  if (tests.length > 1) parts.push(`\n${plural(tests.length, 'test')}: ${tests.join(', ')}.\n`);
  return parts.join('');
}

function short(cell: CellResult | undefined): string {
  if (!cell) return '';
  if (cell.verdict === 'passed') return `✅ ${formatSeconds(cell.total.hostTime)}`;
  if (cell.verdict === 'not built for it') return '➖ not built for it';
  return `❌ ${cell.verdict}${cell.phase ? ` in ${cell.phase}` : ''}`;
}

export function lastLines(text: string, count: number): string {
  const lines = text
    .replaceAll('\r', '')
    .split('\n')
    .filter(line => line.trim() !== '');
  return lines.slice(-count).join('\n');
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(cell => escapeText(cell).replaceAll('|', '\\|')).join(' | ')} |\n`;
}

/** A guest's words in a table or a paragraph: as they are, in one line. */
function escapeText(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll(/[<>&]/g, sign => `&#${sign.charCodeAt(0)};`);
}
