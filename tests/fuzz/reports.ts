/**
 * The matrix's reports with texts that a guest, a file or a plug-in can choose: whatever these are, the structure of the report in HTML,
 * JUnit and Markdown is that of a report with harmless texts, JSON gives back what went in, and nothing commands a terminal.
 */
import { isDeepStrictEqual } from 'node:util';
import { compareWithBaseline, parseBaseline } from '../../src/matrix/baseline.ts';
import { isMatrixReport } from '../../src/matrix/check-report.ts';
import { jsonText } from '../../src/matrix/escape.ts';
import { htmlReport } from '../../src/matrix/html.ts';
import { junitReport } from '../../src/matrix/junit.ts';
import { markdownReport } from '../../src/matrix/markdown.ts';
import { plainReport } from '../../src/matrix/plain-report.ts';
import type { MatrixReport } from '../../src/matrix/result.ts';
import { exampleReport, liveMarkdown } from '../../src/matrix/testing.ts';
import { caseFuzzer, type Random } from './fuzzer.ts';
import { htmlStructure, xmlStructure } from './markup.ts';

const PIECES = [
  ...[
    '`',
    '``',
    '````',
    '`````',
    '~~~',
    '\n',
    '\r',
    '\r\n',
    '\n\n# heading',
    '\n- item',
    '\n1. item',
    '\n> quote',
    '\n---\n',
    '\n===\n',
  ],
  ...[
    '[a](http://x)',
    '![a](x)',
    '[a]: http://x',
    '<http://x>',
    'http://x.org',
    'www.x.org',
    'a@b.org',
    '@user',
    '#1',
    'GH-1',
    'o/r#1',
  ],
  ...[
    '0123456789abcdef0123',
    '**b**',
    '_i_',
    '~~s~~',
    '$x$',
    '***',
    ':smile:',
    '|',
    '\\|',
    '\\',
    '\\\\',
    '&lt;',
    '&#64;',
    '&amp;',
    '&',
  ],
  ...[
    '<script>alert(1)</script>',
    '<img src=x onerror=y>',
    '</pre>',
    '</td>',
    '</details>',
    '<!--',
    '-->',
    ']]>',
    '<![CDATA[',
    '<?xml',
  ],
  ...[
    '"',
    "'",
    '" onclick="x',
    '=',
    '/>',
    '>',
    '<',
    '\x1b[2J',
    '\x1b]0;title\x07',
    '\x9b31m',
    '\x90q\x9c',
    '\x7f',
    '\b',
    '\0',
    '\u0085',
  ],
  ...[
    '\u202e',
    '\u2066',
    '\u200b',
    '\u2028',
    '\u2029',
    '\ufeff',
    '\ufffe',
    '\uffff',
    '\ud800',
    '\udc00',
    '\u{1f600}',
    '\u{1fffe}',
  ],
  ...[
    '__proto__',
    'constructor',
    'toString',
    'word',
    '1',
    ' ',
    '\t',
    '; ',
    ', --x',
    ': ',
    '%',
    '(',
    ')',
    '{',
    '}',
    '^',
    'é',
  ],
];

/** A report has this many texts of others'. */
const TEXTS = 40;

function makeText(random: Random): string {
  return Array.from({ length: 1 + random.below(4) }, () => random.of(PIECES)).join(random.below(3) ? '' : ' ');
}

/** The example with all texts that are not ours replaced; it is compared with a baseline whose texts are others. */
function reportWith(texts: readonly string[]): MatrixReport {
  const [report, before] = [exampleReport(), exampleReport()];
  let next = 0;
  // Each is one of its kind: reports join what is called the same.
  const take = () => `${texts[next % texts.length]}x${next++}`;
  const names = new Map<string, string>();
  const rename = (name: string) => {
    const known = names.get(name) ?? take();
    names.set(name, known);
    return known;
  };
  for (const [index, each] of [report, before].entries()) {
    for (const kernel of each.kernels)
      Object.assign(kernel, { name: rename(kernel.name), description: take(), file: take() });
    for (const hypervisor of each.hypervisors)
      Object.assign(hypervisor, { name: rename(hypervisor.name), title: take() });
    each.test = rename('test');
    for (const cell of each.cells) {
      Object.assign(cell, { kernel: rename(cell.kernel), hypervisor: rename(cell.hypervisor) });
      if (cell.reason) cell.reason = take();
      if (cell.console) cell.console = `${take()}\n${take()}\n`;
      if (cell.state) cell.state = take();
      if (cell.found.lines.length > 0)
        cell.found = {
          ...{ hypervisor: take(), platform: take(), clocksource: take(), clockevent: take() },
          ...{ lines: [take(), take()], features: [take()], complaints: [take()] },
        };
      for (const test of cell.tests) Object.assign(test, { name: rename(test.name), note: take(), unit: take() });
      // All alike: they are sorted by name, and that must not show.
      for (const kind of ['exits', 'operations', 'hypercalls', 'msrs', 'ports'] as const)
        cell.counts[kind] = Object.fromEntries(Object.keys(cell.counts[kind]).map(name => [rename(name), 100]));
    }
    if (index === 1) Object.assign(each, { polyvisor: take(), date: take() });
  }
  const text = JSON.stringify(before);
  compareWithBaseline(report, parseBaseline(text), 0.02, take());
  return report;
}

/** All that our own words and numbers consist of, in Markdown: what guests' words may consist of where they are not code. */
const LIVE = /^[\w .,:;+()%|*#✅❌➖→-]*$/u;

/** What is the same whatever the texts are. */
function structuresOf(report: MatrixReport) {
  return {
    html: htmlStructure(htmlReport(report)),
    junit: xmlStructure(junitReport(report)),
    markdown: markdownReport(report),
  };
}
let harmless: ReturnType<typeof structuresOf> | undefined;
const harmlessReport = reportWith(Array.from({ length: TEXTS }, (_, index) => `a_${index}`));
const LINES = plainReport(harmlessReport).split('\n').length;

function judge(texts: readonly string[]): string | undefined {
  const report = reportWith(texts);
  harmless ??= structuresOf(harmlessReport);
  const [htmlText, junitText, markdownText] = [htmlReport(report), junitReport(report), markdownReport(report)];
  const same = (what: string, found: readonly string[], expected: readonly string[]) => {
    const at = found.findIndex((line, index) => line !== expected[index]);
    if (at < 0 && found.length === expected.length) return undefined;
    return `${what}: its structure has changed at ${at}: ${found[at]} instead of ${expected[at]}`;
  };
  const html = same('HTML', htmlStructure(htmlText), harmless.html);
  const junit = same('JUnit', xmlStructure(junitText), harmless.junit);
  const markdown = judgeMarkdown(markdownText, harmless.markdown);
  if (html ?? junit ?? markdown) return html ?? junit ?? markdown;

  const json = jsonText(report, 1);
  if (!isDeepStrictEqual(JSON.parse(json), JSON.parse(JSON.stringify(report)))) return 'JSON: it is not what went in';
  if (!isMatrixReport(JSON.parse(json))) return 'JSON: it cannot be read back';

  const plain = plainReport(report);
  if (plain.split('\n').length !== LINES) return `terminal: ${plain.split('\n').length} lines instead of ${LINES}`;
  for (const [what, text] of Object.entries({
    html: htmlText,
    junit: junitText,
    markdown: markdownText,
    json,
    plain,
  })) {
    const bad = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.exec(
      text.replaceAll('\r', what === 'html' || what === 'junit' ? '' : '\r'),
    );
    if (bad) return `${what}: it has the character ${bad[0].codePointAt(0)!.toString(16)}`;
  }
  return undefined;
}

/** Lines, cells of tables and emphasis are those of a report with harmless texts; what is not code has no live characters. */
function judgeMarkdown(text: string, harmless: string): string | undefined {
  const [live, expected] = [liveMarkdown(text).split('\n'), liveMarkdown(harmless).split('\n')];
  if (live.length !== expected.length) return `Markdown: ${live.length} lines instead of ${expected.length}`;
  for (const [index, line] of live.entries()) {
    const own = line.replaceAll(/<code>|<block>/g, '');
    if (!LIVE.test(own) || /\bwww\.|\bGH-\d|_/i.test(own)) return `Markdown: live text: ${line}`;
    const shape = (of: string) => `${of.replaceAll(/[^|*]/g, '')} ${/^[-#| ]*/.exec(of)![0]}`;
    if (shape(line) !== shape(expected[index]!)) return `Markdown: ${line} instead of ${expected[index]}`;
  }
  return undefined;
}

export const reports = caseFuzzer<readonly string[]>({
  name: 'reports',
  description: "the matrix's reports in every format, with hostile texts of guests, files and plug-ins",
  make: random => Array.from({ length: TEXTS }, () => makeText(random)),
  judge,
  *smaller(texts) {
    for (const [index, text] of texts.entries()) {
      const others = (other: string) => texts.map((same, at) => (at === index ? other : same));
      if (text === 'a_') continue;
      yield others('a_');
      for (let part = text.length >> 1; part >= 1; part >>= 1)
        for (let at = 0; at < text.length; at += part) yield others(text.slice(0, at) + text.slice(at + part));
    }
  },
  show: texts =>
    texts
      .map((text, index) => `${index}: ${JSON.stringify(text)}`)
      .filter(line => !line.endsWith('"a_"'))
      .join('\n'),
});
