/**
 * The report as one HTML page that can be put in a mail: no other file, no script. Text of guests and of files is escaped
 * wherever it goes.
 */
import { groupChanges } from './changes.ts';
import { escapeHtml } from './escape.ts';
import { formatSeconds, plural } from './format.ts';
import { type HistoryRun, trendsOf } from './history.ts';
import { cellDetails } from './html-cell.ts';
import { historySection } from './html-history.ts';
import { operationBars, testTable, timelines } from './html-plots.ts';
import { STYLE } from './html-style.ts';
import { type CellResult, isGood, type MatrixReport, VERDICTS } from './result.ts';
import { describeShards, summarise, wentWrongIn, whereRan } from './summary.ts';

/** @param earlier runs of the history, without this one */
export function htmlReport(report: MatrixReport, earlier: readonly HistoryRun[] = []): string {
  const { cells, date, clock, polyvisor, wallTime, jobs, test } = report;
  const facts = [
    date.replace('T', ' ').slice(0, 16),
    `polyvisor ${polyvisor}`,
    clock === 'virtual' ? 'virtual clock: costs repeat exactly' : "the host's clock",
    `test: ${test}`,
    `${formatSeconds(wallTime)} with ${plural(jobs, 'job')}${describeShards(report)}`,
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Polyvisor matrix: ${escapeHtml(summarise(report))}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escapeHtml(summarise(report))}</h1>
<p class="faint">${facts.map(escapeHtml).join(' · ')}</p>
${grid(report)}
${baselineSection(report)}
${timelines(report)}
${historySection(report, trendsOf(report, earlier))}
${testTable(report)}
${operationBars(report)}
<h2>Cells</h2>
${cells.map((cell, index) => cellDetails(cell, `cell-${index}`, whereRan(report, cell))).join('\n')}
</body>
</html>
`;
}

/** The kernels against the hypervisors. */
function grid({ kernels, hypervisors, cells }: MatrixReport): string {
  const head = hypervisors
    .map(({ name, title }) => `<th title="${escapeHtml(title)}">${escapeHtml(name)}</th>`)
    .join('');
  const rows = kernels.map(({ name, description }) => {
    const entries = hypervisors.map(hypervisor => {
      const index = cells.findIndex(cell => cell.kernel === name && cell.hypervisor === hypervisor.name);
      return `<td class="cells">${index < 0 ? '' : gridCell(cells[index]!, `cell-${index}`)}</td>`;
    });
    return `<tr><th title="${escapeHtml(description)}">${escapeHtml(name)}</th>${entries.join('')}</tr>`;
  });
  return `<div class="wide"><table class="grid"><tr><th></th>${head}</tr>\n${rows.join('\n')}</table></div>`;
}

function gridCell(cell: CellResult, id: string): string {
  const { verdict, total, reason, changes } = cell;
  const phase = wentWrongIn(cell);
  const worse = changes?.filter(change => change.worse).length ?? 0;
  const kind = verdict === 'passed' ? (worse > 0 ? 'worse' : 'passed') : isGood(verdict) ? 'none' : 'failed';
  const text = verdict === 'passed' ? (worse > 0 ? '✘ worse' : '✔ passed') : isGood(verdict) ? verdict : `✘ ${verdict}`;
  const detail =
    verdict === 'passed'
      ? worse > 0
        ? plural(worse, 'change')
        : formatSeconds(total.hostTime)
      : phase
        ? `in ${phase}`
        : '';
  const title = escapeHtml(reason || VERDICTS[verdict]);
  return `<a class="cell ${kind}" href="#${id}" title="${title}">${text}<small>${escapeHtml(detail) || '&nbsp;'}</small></a>`;
}

function baselineSection(report: MatrixReport): string {
  const { baseline } = report;
  if (!baseline) return '';
  const rows = groupChanges(report).flatMap(({ kernel, hypervisors, changes }) => [
    `<tr><th colspan="3" class="group">${escapeHtml(kernel)} on ${escapeHtml(hypervisors.join(', '))}</th></tr>`,
    ...changes.map(
      ({ what, before, after, worse }) =>
        `<tr><td${worse ? ' class="wrong"' : ''}>${worse ? '✘ ' : ''}${escapeHtml(what)}</td>` +
        `<td>${escapeHtml(before)}</td><td>${escapeHtml(after)}</td></tr>`,
    ),
  ]);
  const notes = baseline.notes.map(note => `<li>${escapeHtml(note)}</li>`).join('');
  const table =
    rows.length === 0
      ? '<p>Nothing has changed.</p>'
      : `<div class="wide"><table class="lines changes"><tr><th>what</th><th>before</th><th>now</th></tr>${rows.join('\n')}</table></div>`;
  return `<h2>Against the baseline</h2>
<p class="faint">${escapeHtml(baseline.file)}, of ${escapeHtml(baseline.date.slice(0, 10))}; ✘ worse is what costs more than ${baseline.tolerance * 100} % more, or is lost</p>
${notes ? `<ul>${notes}</ul>` : ''}${table}`;
}
