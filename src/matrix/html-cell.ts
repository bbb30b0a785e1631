/** One cell's part of the report, folded: what it found, what it used, how it ended, and its console. */

import { escapeHtml } from './escape.ts';
import { formatCount, formatSeconds, plural } from './format.ts';
import { type CellResult, isGood, PHASE_MEANINGS, type ProcessorResult, type ScheduleRun } from './result.ts';
import { describeRed, redSeeds } from './schedules.ts';

/** Registers, hypercalls and ports beyond the most used are left to the JSON. */
const MOST_ROWS = 25;

/** @param where the machine that ran it, where there were several */
export function cellDetails(cell: CellResult, id: string, where?: string): string {
  const { kernel, hypervisor, verdict, reason, phases, found, counts, state, console, consoleBytes } = cell;
  const parts: string[] = [];
  if (reason) parts.push(`<p>${escapeHtml(reason)}</p>`);
  if (cell.schedules) parts.push(scheduleTable(cell.schedules));
  if (cell.repeat !== undefined) parts.push('<h3>Once more</h3>', preformatted(cell.repeat));
  const facts: [string, string | undefined][] = [
    ['hypervisor found', found.hypervisor],
    ['platform', found.platform],
    ['clocksource', found.clocksource],
    ['clock events', found.clockevent],
    ['uses', found.features.join(', ') || undefined],
    ['ran in', where],
  ];
  if (facts.some(([, value]) => value !== undefined))
    parts.push(
      `<table class="lines facts">${facts
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => `<tr><th>${name}</th><td>${escapeHtml(value!)}</td></tr>`)
        .join('')}</table>`,
    );
  if (found.complaints.length > 0) parts.push('<h3>Complaints</h3>', preformatted(found.complaints.join('\n')));
  if (found.lines.length > 0)
    parts.push('<h3>What it says of its hypervisor</h3>', preformatted(found.lines.join('\n')));
  if (phases.length > 0) {
    const rows = phases.map(
      ({ phase, hostTime, guestTime, instructions }) =>
        `<tr><th title="${PHASE_MEANINGS[phase]}">${phase}</th><td class="number">${formatSeconds(hostTime)}</td><td class="number">${formatSeconds(guestTime)}</td><td class="number">${formatCount(instructions)}</td></tr>`,
    );
    parts.push(
      `<h3>Phases</h3><div class="wide"><table class="lines"><tr><th></th><th>host</th><th>guest</th><th>instructions</th></tr>${rows.join('')}</table></div>`,
    );
  }
  if (cell.processors) parts.push(processorTable(cell.processors));
  for (const [title, table] of [
    ['Hypercalls', counts.hypercalls],
    ['Model-specific registers', counts.msrs],
    ['Ports', counts.ports],
  ] as const)
    parts.push(countTable(title, table));
  if (state) parts.push('<h3>The processor at the end</h3>', preformatted(state));
  if (console !== '')
    parts.push(`<h3>Console, ${consoleBytes.toLocaleString('en')} bytes</h3>`, preformatted(console.trimEnd()));
  return `<details id="${id}"><summary>${escapeHtml(kernel)} on ${escapeHtml(hypervisor)}: ${verdict}</summary>\n${parts.join('\n')}\n</details>`;
}

function processorTable(processors: readonly ProcessorResult[]): string {
  const heads = ['', 'instructions', 'ran', 'waited', 'turns', 'IPIs', 'interrupts', 'halts', 'hypercalls'];
  const rows = processors.map(({ instructions, ranTime, waitedTime, turns, ipis, exits }, index) => {
    const values = [
      formatCount(instructions),
      formatSeconds(ranTime),
      formatSeconds(waitedTime),
      ...[turns, ipis, exits.interrupt ?? 0, exits.halt ?? 0, exits.hypercall ?? 0].map(formatCount),
    ];
    return `<tr><th>${index}</th>${values.map(value => `<td class="number">${value}</td>`).join('')}</tr>`;
  });
  return `<h3>Processors</h3><div class="wide"><table class="lines"><tr>${heads.map(head => `<th>${head}</th>`).join('')}</tr>${rows.join('')}</table></div>`;
}

/** Those that went wrong, in rows; of the others, that they did not. */
function scheduleTable(runs: readonly ScheduleRun[]): string {
  const seeds = redSeeds(runs);
  if (seeds.length === 0) return `<p>${plural(runs.length, 'schedule')}, none of them red</p>`;
  const red = runs.filter(({ verdict }) => !isGood(verdict)).slice(0, MOST_ROWS);
  const rows = red.map(
    ({ seed, verdict, reason, instructions }) =>
      `<tr><th>${seed}</th><td>${verdict}</td><td class="number">${formatCount(instructions)}</td><td>${escapeHtml(reason)}</td></tr>`,
  );
  return `<h3>Schedules</h3><p>${describeRed(seeds, runs.length)}</p><div class="wide"><table class="lines"><tr><th>seed</th><th></th><th>instructions</th><th></th></tr>${rows.join('')}</table></div>`;
}

function countTable(title: string, table: Readonly<Record<string, number>>): string {
  const all = Object.entries(table).sort(([, a], [, b]) => b - a);
  if (all.length === 0) return '';
  const rows = all
    .slice(0, MOST_ROWS)
    .map(
      ([name, count]) => `<tr><td>${escapeHtml(name)}</td><td class="number">${count.toLocaleString('en')}</td></tr>`,
    );
  const more = all.length > MOST_ROWS ? `<p class="faint">and ${all.length - MOST_ROWS} more, in the JSON</p>` : '';
  return `<h3>${title}</h3><div class="wide"><table class="lines">${rows.join('')}</table></div>${more}`;
}

function preformatted(text: string): string {
  return `<pre>${escapeHtml(text)}</pre>`;
}
