/** What the report draws: the boots side by side, the tests' costs, and how often each op was asked for. */

import { escapeHtml } from './escape.ts';
import { formatCount, formatSeconds } from './format.ts';
import { PHASE_COLOURS } from './html-style.ts';
import { type CellResult, type Cost, isGood, type MatrixReport, PHASE_MEANINGS, PHASES } from './result.ts';
import { costOf, testNames } from './summary.ts';

type CostKind = ReturnType<typeof costOf>;
const formatCost = (kind: CostKind, cost: number) =>
  kind === 'instructions' ? formatCount(cost) : formatSeconds(cost);

/** Every cell that was booted, on one scale, grouped by kernel. */
export function timelines(report: MatrixReport): string {
  const kind = costOf(report);
  const booted = report.cells.filter(({ phases }) => phases.length > 0);
  if (booted.length === 0) return '';
  const most = Math.max(...booted.map(({ total }) => total[kind]), 1e-9);
  const legend = PHASES.map(
    (phase, index) =>
      `<span title="${PHASE_MEANINGS[phase]}"><i style="background:${PHASE_COLOURS[index]}"></i>${phase}</span>`,
  );
  const groups = report.kernels.map(({ name }) => {
    const rows = booted.filter(({ kernel }) => kernel === name).map(cell => timeline(cell, kind, most));
    return rows.length > 0
      ? `${report.kernels.length > 1 ? `<h3>${escapeHtml(name)}</h3>` : ''}<div class="rows">${rows.join('\n')}</div>`
      : '';
  });
  return `<h2>Boots</h2>
<p class="faint">${kind === 'instructions' ? 'instructions executed' : 'seconds of the host, of which later cells need less: they find code that earlier ones have translated'}, all on one scale</p>
<div class="legend">${legend.join('')}</div>
<div class="timelines">${groups.join('\n')}</div>`;
}

function timeline({ hypervisor, phases, total, verdict }: CellResult, kind: CostKind, most: number): string {
  const parts = phases.map(({ phase, ...cost }) => {
    const title = `${phase}: ${formatCost(kind, cost[kind])}`;
    const style = `width:${share(cost[kind], most)};background:${PHASE_COLOURS[PHASES.indexOf(phase)]}`;
    return `<span title="${title}" style="${style}"></span>`;
  });
  const stop = isGood(verdict) ? '' : `<span class="stop" title="${verdict}"></span>`;
  return `<span class="name">${escapeHtml(hypervisor)}</span><span class="track" data-cell="${escapeHtml(hypervisor)}">${parts.join('')}${stop}</span><span class="value">${formatCost(kind, total[kind])}${isGood(verdict) ? '' : ` <span class="wrong">${verdict}</span>`}</span>`;
}

function share(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(3)}%`;
}

/**
 * What each test cost under each hypervisor, a table a kernel; the cheapest is marked where it is worth calling so. Instructions
 * decide: seconds depend on what else the host does, and on what the cells before have left translated.
 */
export function testTable(report: MatrixReport): string {
  const kind = costOf(report);
  const tables = report.kernels.map(({ name }) => {
    const cells = report.cells.filter(({ kernel, tests }) => kernel === name && tests.length > 0);
    if (cells.length === 0) return '';
    const rows = testNames(cells).map(test => testRow(test, cells, kind));
    const head = cells.map(({ hypervisor }) => `<th>${escapeHtml(hypervisor)}</th>`).join('');
    return `${report.kernels.length > 1 ? `<h3>${escapeHtml(name)}</h3>` : ''}<div class="wide"><table class="lines tests"><tr><th>test</th>${head}</tr>\n${rows.join('\n')}</table></div>`;
  });
  const text = tables.join('\n').trim();
  if (text === '') return '';
  return `<h2>Tests</h2>
<p class="faint">${kind === 'instructions' ? 'instructions executed' : 'seconds of the host'}; <span class="best">★</span> the fastest: it executed the fewest instructions</p>
${text}`;
}

/** Three digits, or all before the point. */
function formatMeasured(value: number): string {
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en') : `${Number(value.toPrecision(3))}`;
}

/** A winner by less than this is none. */
const CLEARLY = 0.99;

function testRow(test: string, cells: readonly CellResult[], kind: CostKind): string {
  const results = cells.map(({ tests }) => tests.find(({ name }) => name === test));
  const costs = results.map(result => (result?.outcome === 'passed' ? (result as Cost) : undefined));
  const known = costs.flatMap(cost => cost?.instructions ?? []).sort((a, b) => a - b);
  const best = known.length > 1 && known[0]! <= known[1]! * CLEARLY ? known[0] : undefined;
  const entries = results.map((result, index) => {
    if (!result) return '<td></td>';
    const note = escapeHtml(result.note ?? '');
    if (result.outcome === 'failed') return `<td class="number wrong" title="${note}">✘ ${note || 'failed'}</td>`;
    if (result.outcome === 'skipped') return `<td class="number faint" title="${note}">skipped</td>`;
    const cost = costs[index];
    const measured =
      result.value === undefined
        ? ''
        : ` <span class="faint">${formatMeasured(result.value)} ${escapeHtml(result.unit ?? '')}</span>`;
    const text = cost ? formatCost(kind, cost[kind]) : '✔';
    return cost && cost.instructions === best
      ? `<td class="number best">★ ${text}${measured}</td>`
      : `<td class="number">${text}${measured}</td>`;
  });
  return `<tr><th>${escapeHtml(test)}</th>${entries.join('')}</tr>`;
}

/** Kinds that fewer than this many calls fell on, in all cells, are not drawn. */
const WORTH_A_BAR = 10;

/** How often each op of the waist, and each other reason to leave translated code, was asked for. */
export function operationBars(report: MatrixReport): string {
  const booted = report.cells.filter(({ phases }) => phases.length > 0);
  const counts = (cell: CellResult) =>
    new Map([...Object.entries(cell.counts.operations), ...Object.entries(cell.counts.exits)]);
  const kinds = [...new Set(booted.flatMap(cell => [...counts(cell).keys()]))]
    .map(name => ({ name, most: Math.max(...booted.map(cell => counts(cell).get(name) ?? 0)) }))
    .filter(({ most }) => most >= WORTH_A_BAR)
    .sort((a, b) => Number(b.name.includes('.')) - Number(a.name.includes('.')) || (a.name < b.name ? -1 : 1));
  if (kinds.length === 0) return '';
  const scale = Math.log10(Math.max(...kinds.map(({ most }) => most)) + 1);
  const several = report.kernels.length > 1;
  const blocks = kinds.map(({ name }) => {
    const rows = booted.flatMap(cell => {
      const count = counts(cell).get(name) ?? 0;
      if (count === 0) return [];
      const who = several ? `${cell.hypervisor}, ${cell.kernel}` : cell.hypervisor;
      return `<span class="name">${escapeHtml(who)}</span><span class="track thin"><span class="bar" style="width:${share(Math.log10(count + 1), scale)}"></span></span><span class="value">${count.toLocaleString('en')}</span>`;
    });
    return `<h3>${escapeHtml(name)}</h3><div class="rows">${rows.join('\n')}</div>`;
  });
  return `<h2>What was asked of the hypervisor and the machine</h2>
<p class="faint">calls of each op (group.op) and exits from translated code, all bars on one logarithmic scale</p>
<div class="operations">${blocks.join('\n')}</div>`;
}
