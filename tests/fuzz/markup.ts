/**
 * Strict readers of the languages in which reports are written: each gives back what of a text is structure. Text of a guest that became
 * structure changes it.
 */

/** XML 1.0 as JUnit files use it: a declaration, elements, attributes, text. @throws Error where it is not well-formed */
export function xmlStructure(text: string): string[] {
  const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';
  if (!text.startsWith(DECLARATION)) throw new Error('no declaration');
  // XML 1.0, 2.2: Char.
  const illegal = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u.exec(text);
  if (illegal) throw new Error(`the character ${illegal[0].codePointAt(0)!.toString(16)} at ${illegal.index}`);
  const open: string[] = [];
  const structure: string[] = [];
  let at = DECLARATION.length;
  while (at < text.length) {
    const next = text.indexOf('<', at);
    checkText(text.slice(at, next < 0 ? undefined : next), open.length > 0);
    if (next < 0) break;
    const tag = matchAt(/<(\/?)([a-z-]+)((?:\s+[a-z]+="[^"<]*")*)\s*(\/?)>/y, text, next);
    if (!tag) throw new Error(`no tag at ${next}: ${text.slice(next, next + 40)}`);
    const [whole, close, name, attributes, empty] = tag as unknown as [string, string, string, string, string];
    const pairs = [...attributes.matchAll(/([a-z]+)="([^"]*)"/g)];
    for (const [, , value] of pairs) checkText(value!, true);
    if (new Set(pairs.map(([, key]) => key)).size < pairs.length) throw new Error(`an attribute twice in ${whole}`);
    structure.push(`${close}${name} ${pairs.map(([, key]) => key).join(' ')}${empty}`);
    if (close) {
      if (open.pop() !== name) throw new Error(`</${name}> closes nothing`);
    } else if (!empty) open.push(name);
    at = next + whole.length;
  }
  if (open.length > 0) throw new Error(`<${open.at(-1)}> is never closed`);
  return structure;
}

function checkText(text: string, inside: boolean): void {
  if (!inside && text.trim() !== '') throw new Error(`text outside of elements: ${text}`);
  if (/&(?!(?:amp|lt|gt|quot);)/.test(text)) throw new Error(`a bare & in ${text}`);
  if (text.includes(']]>')) throw new Error(']]> in text');
}

/** The tags of an HTML page with their attributes; of these, the values of those that do something. */
export function htmlStructure(text: string): string[] {
  const structure: string[] = [];
  for (let at = text.indexOf('<'); at >= 0; at = text.indexOf('<', at)) {
    // HTML, 13.2.5.6: after a "<" a letter, "/", "!" or "?" begins a tag.
    const tag = matchAt(/<(!doctype html|\/?[a-z][a-z0-9]*)((?:\s+[a-z-]+(?:="[^"]*")?)*)\s*>/y, text, at);
    if (!tag) throw new Error(`no tag of ours at ${at}: ${JSON.stringify(text.slice(at, at + 60))}`);
    const attributes = [...tag[2]!.matchAll(/([a-z-]+)(?:="([^"]*)")?/g)].map(([, name, value]) =>
      /^(?:href|style|id|class)$/.test(name!) ? `${name}=${value}` : name,
    );
    structure.push(`${tag[1]} ${attributes.join(' ')}`);
    at += tag[0].length;
  }
  if (/&(?!(?:amp|lt|gt|quot|nbsp);)/.test(text)) throw new Error('a bare &');
  return structure;
}

/** @param expression sticky */
function matchAt(expression: RegExp, text: string, at: number): RegExpExecArray | null {
  expression.lastIndex = at;
  return expression.exec(text);
}
