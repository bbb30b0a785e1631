/** The report as JUnit XML, the form that CI systems read: a suite a kernel, a case a cell. */
import { escapeHtml } from './escape.ts';
import { lastLines } from './markdown.ts';
import { type CellResult, isGood, type MatrixReport } from './result.ts';

/** Lines of a console that go into the file, which CI systems keep whole. */
const CONSOLE_LINES = 100;

export function junitReport({ kernels, cells, date }: MatrixReport): string {
  const suites = kernels.map(({ name }) => {
    const members = cells.filter(({ kernel }) => kernel === name);
    const failures = members.filter(isFailure).length;
    const skipped = members.filter(({ verdict }) => verdict === 'not built for it').length;
    const time = members.reduce((sum, { total }) => sum + total.hostTime, 0);
    const head = attributes({
      name,
      tests: members.length,
      failures,
      skipped,
      time: time.toFixed(3),
      timestamp: date.slice(0, 19),
    });
    return `  <testsuite ${head}>\n${members.map(testCase).join('')}  </testsuite>\n`;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="polyvisor matrix">\n${suites.join('')}</testsuites>\n`;
}

const isFailure = ({ verdict, changes }: CellResult) => !isGood(verdict) || !!changes?.some(({ worse }) => worse);

function testCase(cell: CellResult): string {
  const { kernel, hypervisor, verdict, reason, total, changes } = cell;
  const head = attributes({ classname: kernel, name: hypervisor, time: total.hostTime.toFixed(3) });
  const worse = changes?.filter(change => change.worse) ?? [];
  const body: string[] = [];
  if (verdict === 'not built for it') body.push(`<skipped ${attributes({ message: reason })}/>`);
  else if (!isGood(verdict))
    body.push(
      `<failure ${attributes({ type: verdict, message: reason })}>${escapeHtml([cell.repeat ?? [], cell.state ?? []].flat().join('\n'))}</failure>`,
    );
  else if (worse.length > 0) {
    const message = worse.map(({ what, before, after }) => `${what}: ${before} → ${after}`).join('; ');
    body.push(`<failure ${attributes({ type: 'worse than the baseline', message })}/>`);
  }
  if (cell.console !== '') body.push(`<system-out>${escapeHtml(lastLines(cell.console, CONSOLE_LINES))}</system-out>`);
  return `    <testcase ${head}>${body.map(line => `\n      ${line}`).join('')}\n    </testcase>\n`;
}

function attributes(values: Record<string, string | number>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}="${escapeHtml(`${value}`)}"`)
    .join(' ');
}
