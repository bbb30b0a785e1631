/** The report's part about earlier runs: what became of each cell, what it cost, and which cells cannot be relied on. */
import { escapeHtml } from './escape.ts';
import { formatCount, formatSeconds, formatShare, plural } from './format.ts';
import type { Moment, Trend } from './history.ts';
import { PHASE_COLOURS } from './html-style.ts';
import { isGood, type MatrixReport, PHASES } from './result.ts';
import { costOf } from './summary.ts';

/** Runs that are drawn, and runs whose numbers are written. */
const MOST_COLUMNS = 40;
const MOST_NUMBERS = 8;

type CostKind = ReturnType<typeof costOf>;

export function historySection(report: MatrixReport, trends: readonly Trend[]): string {
  const shown = trends.filter(({ moments }) => moments.some(({ cell }) => cell.phases.length > 0));
  const runs = Math.max(0, ...trends.map(({ moments }) => moments.length));
  if (runs < 2 || shown.length === 0) return '';
  const kind = costOf(report);
  const several = report.kernels.length > 1;
  const rows = shown.map(trend => {
    const { kernel, hypervisor } = trend.cell;
    const name = several ? `${kernel} on ${hypervisor}` : hypervisor;
    return `<tr><th>${escapeHtml(name)}</th><td>${columns(trend.moments, kind)}</td><td class="number">${difference(trend.moments, kind)}</td><td>${flaky(trend)}</td></tr>`;
  });
  return `<h2>History</h2>
<p class="faint">${plural(runs, 'run')}, the last ${Math.min(runs, MOST_COLUMNS)} drawn, this one on the right; as high as what it cost (${kind === 'instructions' ? 'instructions' : "seconds of the host's"}), by phase; below, green what passed</p>
<div class="wide"><table class="lines history"><tr><th>cell</th><th>runs</th><th>since it last passed</th><th>flaky</th></tr>
${rows.join('\n')}</table></div>
${shown.map(trend => numbers(trend, several)).join('\n')}`;
}

const cost = ({ cell }: Moment, kind: CostKind) => cell[kind];
const format = (kind: CostKind, value: number) => (kind === 'instructions' ? formatCount(value) : formatSeconds(value));

/** A column a run: as high as its cost, coloured by phase, with a foot that tells the verdict. */
function columns(moments: readonly Moment[], kind: CostKind): string {
  const last = moments.slice(-MOST_COLUMNS);
  const most = Math.max(...last.filter(({ comparable }) => comparable).map(moment => cost(moment, kind)), 1e-9);
  const drawn = last.map(moment => {
    const { run, cell, comparable } = moment;
    const { verdict, phases, instructions } = cell;
    const title = `${describe(moment)}: ${verdict}, ${format(kind, cost(moment, kind))}`;
    const height = comparable ? (100 * cost(moment, kind)) / most : 0;
    const parts = phases.map(
      ({ phase, instructions: part }) =>
        `<i style="height:${((height * part) / Math.max(instructions, 1)).toFixed(2)}%;background:${PHASE_COLOURS[PHASES.indexOf(phase)]}"></i>`,
    );
    const kindOf = verdict === 'passed' ? 'good' : isGood(verdict) ? 'none' : 'bad';
    return `<span class="run ${kindOf}" title="${escapeHtml(title)}" data-date="${escapeHtml(run.date)}"><span>${parts.toReversed().join('')}</span></span>`;
  });
  return `<div class="runs">${drawn.join('')}</div>`;
}

const describe = ({ run, cell }: Moment) => `${run.date.slice(0, 10)}, ${cell.kernel}, polyvisor ${run.polyvisor}`;

/** Against the last earlier run that passed, where this one did. */
function difference(moments: readonly Moment[], kind: CostKind): string {
  const usable = moments.filter(({ comparable, cell }) => comparable && cell.verdict === 'passed');
  const [now, before] = [usable.at(-1), usable.at(-2)];
  if (!now || !before || now !== moments.at(-1) || cost(before, kind) <= 0) return '';
  return formatShare(cost(now, kind) / cost(before, kind) - 1);
}

function flaky({ flaky }: Trend): string {
  if (!flaky) return '';
  const { verdicts, bad, runs } = flaky;
  return `<span class="wrong">${bad} of ${runs} bad</span> <span class="faint">${escapeHtml(verdicts.join(', '))}</span>`;
}

/** The instructions of phases and tests over the last runs. */
function numbers({ cell, moments }: Trend, several: boolean): string {
  const last = moments.filter(({ comparable }) => comparable).slice(-MOST_NUMBERS);
  if (last.length < 2) return '';
  const tests = [...new Set(last.flatMap(moment => moment.cell.tests.map(({ name }) => name)))];
  const row = (name: string, value: (moment: Moment) => number | string | undefined) => {
    const entries = last.map(moment => {
      const entry = value(moment);
      return `<td class="number">${typeof entry === 'number' ? formatCount(entry) : escapeHtml(entry ?? '')}</td>`;
    });
    return `<tr><th>${escapeHtml(name)}</th>${entries.join('')}</tr>`;
  };
  const phases = PHASES.filter(phase => last.some(moment => moment.cell.phases.some(other => other.phase === phase)));
  const rows = [
    row('in all', moment => moment.cell.instructions),
    ...phases.map(phase => row(phase, moment => moment.cell.phases.find(other => other.phase === phase)?.instructions)),
    ...tests.map(name =>
      row(`test ${name}`, moment => {
        const test = moment.cell.tests.find(other => other.name === name);
        return test && test.outcome === 'passed' ? (test.instructions ?? test.outcome) : test?.outcome;
      }),
    ),
  ];
  const head = last.map(
    moment => `<th title="${escapeHtml(describe(moment))}">${escapeHtml(moment.run.date.slice(0, 10))}</th>`,
  );
  const title = several ? `${cell.kernel} on ${cell.hypervisor}` : cell.hypervisor;
  return `<details><summary>${escapeHtml(title)}: instructions by phase and test</summary>
<div class="wide"><table class="lines"><tr><th></th>${head.join('')}</tr>${rows.join('\n')}</table></div></details>`;
}
