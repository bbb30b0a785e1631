/** The report for a terminal that has seen the cells go by: the sum, and what differs from the baseline. */
import { describeChange, groupChanges } from './changes.ts';
import { visibleLine } from './escape.ts';
import type { MatrixReport } from './result.ts';
import { summarise } from './summary.ts';

export function plainReport(report: MatrixReport): string {
  const lines = (report.baseline?.notes ?? []).map(visibleLine);
  for (const { kernel, hypervisors, changes } of groupChanges(report)) {
    lines.push('', visibleLine(`${kernel} on ${hypervisors.join(', ')}:`));
    const names = changes.map(({ what }) => visibleLine(what));
    const width = Math.max(...names.map(({ length }) => length));
    for (const [index, change] of changes.entries()) {
      const kind = change.worse ? 'worse  ' : 'changed';
      lines.push(`  ${kind}  ${names[index]!.padEnd(width)}  ${visibleLine(describeChange(change, '->'))}`);
    }
  }
  const red = report.cells.filter(({ repeat }) => repeat !== undefined);
  for (const { kernel, hypervisor, reason, repeat } of red)
    lines.push('', visibleLine(`${kernel} on ${hypervisor}: ${reason}`), `  ${visibleLine(`once more: ${repeat}`)}`);
  if (lines.length > 0) lines.push('');
  return `${[...lines, summarise(report)].join('\n')}\n`;
}
