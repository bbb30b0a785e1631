/**
 * Text of guests, files and plug-ins on its way into HTML, XML, Markdown, JSON and a terminal. Whoever writes such text must not be
 * able to write markup, a link, a mention or a terminal's command.
 */

/**
 * Characters that show nothing, or change how others are shown: control characters (a terminal takes commands from those of
 * ECMA-48, C1 included), directions and joiners, line separators, halves of surrogate pairs, and what XML cannot write.
 */
const INVISIBLE = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Noncharacter_Code_Point}]/gu;

/** `text` with every such character shown as one that cannot be shown. Tabs and line ends stay. */
export function visible(text: string): string {
  return text.replaceAll(INVISIBLE, '\ufffd');
}

/** The same in one line. */
export function visibleLine(text: string): string {
  return visible(text.replaceAll(/\s+/g, ' ').trim());
}

/** For text and for attributes in double quotes, in HTML and XML. */
export function escapeHtml(text: string): string {
  return visible(text)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

/** Words that no Markdown gives a meaning to: no punctuation but between them, no address, no reference to a commit or an issue. */
const PLAIN = /^[A-Za-z0-9]+(?:(?:[ .+-]|[,;:] (?:--)?)[A-Za-z0-9]+)*$/;
const REFERENCE = /\bwww\.|\bGH-\d|\b[0-9a-f]{7,}\b/i;

/**
 * For a paragraph or a cell of a table in Markdown: as it is where it is plain, and else as code, in which nothing is live. Escaped
 * punctuation would not do: GitHub finds mentions, issues and addresses in text after it has been unescaped.
 */
export function escapeMarkdown(text: string): string {
  // A cell ends at a bar even within code, and how a bar is escaped after a backslash differs from reader to reader.
  const line = visibleLine(text).replaceAll('|', '¦');
  if (line === '' || (PLAIN.test(line) && !REFERENCE.test(line))) return line;
  const fence = '`'.repeat(longestRun(line) + 1);
  const space = line.startsWith('`') || line.endsWith('`') ? ' ' : '';
  return `${fence}${space}${line}${space}${fence}`;
}

/** Lines of text as a block of code in Markdown. */
export function markdownBlock(text: string): string {
  const lines = visible(text.replaceAll(/\r\n?/g, '\n'));
  const fence = '`'.repeat(Math.max(longestRun(lines) + 1, 3));
  return `${fence}text\n${lines}\n${fence}\n`;
}

function longestRun(text: string): number {
  return Math.max(0, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
}

/** JSON that is safe to look at: what JSON.stringify leaves as it is and a terminal does not is escaped, too. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replaceAll(/[\p{Cf}\p{Zl}\p{Zp}\x7f-\x9f]/gu, found =>
    Array.from({ length: found.length }, (_, i) => `\\u${found.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
}
