/**
 * Speeds as a picture: a line a workload, on a logarithmic axis whose middle is the first peer's speed. SVG that a light page
 * and a dark one can both show, alone or in an HTML page with the figures.
 */
import { geometricMean, median, OURS, peersOf, type Row } from './bench.ts';

export interface PlotOptions {
  html: boolean;
  host: { node: string; processor: string | undefined; processors: number };
}

/** Pixels. */
const LEFT = 150;
const WIDTH = 560;
const RIGHT = 70;
const LINE = 20;
const TOP = 64;
/** Before every group but the first. */
const GAP = 12;
/** Marks of the axis, as far as they are needed. */
const TICKS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50];

/** Colours of us and of whoever else is not the reference; chosen to be told apart on white and on black. */
const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .group { font-weight: 600 }
  .faint { fill: #656d76 }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .reference { stroke: #24292f; stroke-width: 1.5 }
  .series0 { fill: #0969da; stroke: #0969da }
  .series1 { fill: #bf8700; stroke: #bf8700 }
  .bar { stroke-width: 8; opacity: 0.35 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .faint { fill: #8d96a0 }
    .grid { stroke: #30363d }
    .reference { stroke: #e6edf3 }
    .series0 { fill: #58a6ff; stroke: #58a6ff }
    .series1 { fill: #d29922; stroke: #d29922 }
  }`;

interface Line {
  name: string;
  title: string;
  group?: boolean;
  /** By series, in the reference's speed. */
  speeds: (number | undefined)[];
}

export function plot(rows: readonly Row[], { html, host }: PlotOptions): string {
  const [reference, ...others] = peersOf(rows);
  const series = [OURS, ...others];
  const lines = reference === undefined ? [] : linesOf(rows, reference, series);
  const where = `${host.processor ?? 'unknown processor'}, ${host.processors} processors, Node.js ${host.node}`;
  const picture = draw(lines, reference ?? 'nobody', series, where);
  return html ? page(picture, rows) : picture;
}

/** What is drawn: each group's title with its geometric mean, then its rows. */
function linesOf(rows: readonly Row[], reference: string, series: readonly string[]): Line[] {
  const speed = ({ seconds }: Row, who: string) =>
    seconds[who]?.length && seconds[reference]?.length ? median(seconds[reference]) / median(seconds[who]) : undefined;
  return [...new Set(rows.map(({ group }) => group))].flatMap(group => {
    const members = rows
      .filter(row => row.group === group)
      .map(row => ({ name: row.name, title: row.title, speeds: series.map(who => speed(row, who)) }));
    const means = series.map((_, index) => {
      const speeds = members.map(({ speeds }) => speeds[index]).filter(value => value !== undefined);
      return speeds.length > 0 ? geometricMean(speeds) : undefined;
    });
    return [{ name: group, title: `${group}: geometric mean`, group: true, speeds: means }, ...members];
  });
}

function draw(lines: readonly Line[], reference: string, series: readonly string[], where: string): string {
  const all = lines.flatMap(({ speeds }) => speeds.filter(value => value !== undefined));
  const low = TICKS.findLast(tick => tick <= Math.min(0.5, ...all)) ?? TICKS[0];
  const high = TICKS.find(tick => tick >= Math.max(2, ...all)) ?? TICKS[TICKS.length - 1];
  const x = (value: number) => {
    const share = Math.log(value / low) / Math.log(high / low);
    return round(LEFT + WIDTH * Math.min(1, Math.max(0, share)));
  };
  let bottom = TOP;
  const heights = lines.map(({ group }, index) => {
    if (group && index > 0) bottom += GAP;
    bottom += LINE;
    return bottom - LINE / 2;
  });
  bottom += 4;
  const height = bottom + 44;
  const out: string[] = [];
  const text = (at: number, y: number, content: string, extra = '') =>
    out.push(`<text x="${at}" y="${round(y)}"${extra}>${escapeText(content)}</text>`);

  text(8, 20, `Speed, in that of ${reference}`, ' class="title"');
  let legend = LEFT;
  for (const [index, name] of series.entries()) {
    out.push(`<circle class="series${index}" cx="${legend}" cy="38" r="5"/>`);
    text(legend + 10, 42, name);
    legend += 110;
  }
  text(LEFT + WIDTH, 42, 'large dots: geometric means; further right is faster', ' class="faint" text-anchor="end"');
  for (const tick of TICKS.filter(value => value >= low && value <= high)) {
    const kind = tick === 1 ? 'reference' : 'grid';
    out.push(`<line class="${kind}" x1="${x(tick)}" x2="${x(tick)}" y1="${TOP - 8}" y2="${bottom}"/>`);
    text(x(tick), bottom + 16, tick === 1 ? reference : `${tick} ×`, ' class="faint" text-anchor="middle"');
  }
  for (const [index, { name, title, group, speeds }] of lines.entries()) {
    const y = heights[index];
    out.push(`<g><title>${escapeText(title)}</title>`);
    text(LEFT - 10, y + 4, name, ` text-anchor="end"${group ? ' class="group"' : ''}`);
    const [ours] = speeds;
    if (ours !== undefined) {
      out.push(`<line class="series0 bar" x1="${x(1)}" x2="${x(ours)}" y1="${y}" y2="${y}"/>`);
      text(LEFT + WIDTH + 10, y + 4, `${ours.toFixed(2)} ×`, group ? ' class="group"' : '');
    }
    for (const [which, speed] of speeds.entries())
      if (speed !== undefined)
        out.push(`<circle class="series${which}" cx="${x(speed)}" cy="${y}" r="${group ? 6 : 4}"/>`);
    out.push('</g>');
  }
  text(8, height - 8, where, ' class="faint"');
  const total = LEFT + WIDTH + RIGHT;
  const size = `viewBox="0 0 ${total} ${height}" width="${total}" height="${height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>\n<style>${STYLE}\n</style>\n${out.join('\n')}\n</svg>\n`;
}

/** The picture, and under it the figures it is made of. */
function page(picture: string, rows: readonly Row[]): string {
  const who = [...new Set(rows.flatMap(({ seconds }) => Object.keys(seconds)))];
  const cells = (row: Row) =>
    who
      .map(name => `<td>${row.seconds[name]?.length ? `${median(row.seconds[name]).toFixed(3)} s` : ''}</td>`)
      .join('');
  const body = rows.map(row => `<tr><td>${escapeText(row.name)}<td>${escapeText(row.title)}${cells(row)}`).join('\n');
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>Polyvisor: benchmarks</title>
<style>
body { font: 14px system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }
td, th { padding: 2px 12px 2px 0; text-align: left; font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto }
</style>
${picture}
<table>
<tr><th>workload<th>what it does${who.map(name => `<th>${escapeText(name)}`).join('')}
${body}
</table>
`;
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
