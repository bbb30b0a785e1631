/**
 * Names that a guest, an image, a plug-in, a report or a baseline chooses are no keys of plain objects, where `constructor`,
 * `toString` and `__proto__` are found that nobody has put there: `Map`, or `ownMember` (src/own-member.ts). The
 * compiler says which keys are strings that can be anything; those that are ours stand in a list with the reason.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Expression, type Node, SyntaxKind } from 'typescript/unstable/ast';
import { isAsExpression, isBinaryExpression, isElementAccessExpression } from 'typescript/unstable/ast/is';
import { API, type Project, type Type, TypeFlags } from 'typescript/unstable/sync';
import { root, sources } from './sources.ts';

/** Keys that are ours: by file, or folder and what stands there. */
const ALLOWED: ReadonlyMap<string, string> = new Map([
  ['src/own-member.ts object[name]', 'what the others use'],
  ['src/engine/modules.ts helpers[name]', 'names of our table of helpers'],
  [`src/engine/jit/jit.ts exports[\`r\${found.number}\`]`, 'exports of a module of ours; they inherit nothing'],
  [`src/engine/jit/jit.ts exports[\`r\${number}\`]`, 'exports of a module of ours; they inherit nothing'],
  ['src/engine/jit/tier.ts helperRegisters[name]', 'names of our table of helpers'],
  ['src/engine/jit/translator.ts name in helperRegisters', 'names of our table of helpers'],
  ['src/engine/x86/operands.ts FIXED[text]', 'words of our table of instructions'],
  ['src/engine/x86/', 'tables of helpers, filled when the program starts'],
  [
    'src/hypervisors/vmi/ap-state.ts registers[name as keyof typeof AP_STATE.registers]',
    'names of a table in the same file',
  ],
  ['src/hypervisors/xen/structures.ts values[field.name]', 'names of our tables of structures'],
  ['src/machine/questions.ts questions[name]', 'names of our table of ops'],
  ['src/machine/questions.ts table[group as keyof typeof operations]', 'names of our table of ops'],
  ['src/paravirt/replace.ts table[group as keyof typeof operations]', 'names of our table of ops'],
  ['src/plugins/binary.ts this.#exports[name]', 'exports of a WebAssembly instance; they inherit nothing'],
  ['src/plugins/binary.ts groups[group][member]', 'ops that findExport knows'],
  ['src/plugins/imports.ts REQUESTS[what]', 'a parameter of type i32: a number'],
  ['src/wasm/opcodes.ts TYPES[letter]', 'letters of the table in the same file'],
  ['src/wasm/opcodes.ts TYPES[result]', 'letters of the table in the same file'],
]);

let api: API;
let project: Project;
before(() => {
  api = new API({ cwd: root });
  project = api.updateSnapshot({ openProjects: [join(root, 'tsconfig.json')] }).getProjects()[0]!;
});
after(() => api.close());

/** True if a value of this type may be any text: not one of a list of words, and no number. */
const isAnyText = (type: Type): boolean =>
  type.isUnionType()
    ? type.getTypes().some(isAnyText)
    : (type.flags & (TypeFlags.String | TypeFlags.TemplateLiteral | TypeFlags.Any | TypeFlags.Unknown)) !== 0;

const isWord = (type: Type): boolean =>
  type.isUnionType() ? type.getTypes().every(isWord) : (type.flags & TypeFlags.StringLiteral) !== 0;

/** Where `file` looks a member up by a name that may be anything, or says of such a text that it is one of a list of words for that. */
function lookups(file: string): string[] {
  const source = project.program.getSourceFile(join(root, file))!;
  const keys: { whole: Node; key: Expression }[] = [];
  const visit = (node: Node): void => {
    if (isElementAccessExpression(node)) keys.push({ whole: node, key: node.argumentExpression });
    else if (isBinaryExpression(node) && node.operatorToken.kind === SyntaxKind.InKeyword)
      keys.push({ whole: node, key: node.left });
    node.forEachChild(visit);
  };
  visit(source);
  return keys.flatMap(({ whole, key }) => {
    const type = project.checker.getTypeAtLocation(key);
    const before = isAsExpression(key) ? project.checker.getTypeAtLocation(key.expression) : undefined;
    if (!type || !(isAnyText(type) || (isWord(type) && before && isAnyText(before)))) return [];
    return [source.text.slice(whole.getStart(source), whole.end).replace(/\s+/g, ' ')];
  });
}

const isAllowed = (file: string, lookup: string) =>
  ALLOWED.has(`${file} ${lookup}`) || [...ALLOWED.keys()].some(key => key.endsWith('/') && file.startsWith(key));

test('no text that may be anything is the key of a plain object', () => {
  const files = sources('src');
  assert.ok(files.length > 300, `${files.length} files`);
  const found = files.flatMap(file => lookups(file).map(lookup => [file, lookup] as const));
  assert.deepEqual(
    found.filter(([file, lookup]) => !isAllowed(file, lookup)).map(words => words.join(' ')),
    [],
    'use a Map, or ownMember',
  );
  const all = new Set(found.flatMap(([file, lookup]) => [`${file} ${lookup}`, file.replace(/[^/]*$/, '')]));
  for (const allowed of ALLOWED.keys())
    assert.ok(
      all.has(allowed) || [...all].some(one => allowed.endsWith('/') && one.startsWith(allowed)),
      `${allowed} is not there any more`,
    );
});

test('this test would notice one', () => {
  const planted = 'src/own-member.ts';
  const text = `
type Kind = 'a' | 'b';
const byKind: Record<Kind, number> = { a: 1, b: 2 };
const table: Record<string, number> = { a: 1 };
const numbers: Record<number, string> = {};
const made = Object.fromEntries([['a', 1]]);
export function look(name: string, kind: Kind, index: number, map: Map<string, number>, parsed: any, list: string[]) {
  table[name] = 1;
  if (name in made) return made[\`x\${name}\`];
  const known = byKind[name as Kind] + parsed[parsed.name];
  return known + byKind[kind] + Number(numbers[index]) + map.get(name)! + list[index].length + table['a'];
}
`;
  const other = new API({
    cwd: root,
    fs: { readFile: path => (path === join(root, planted) ? text : undefined) },
  });
  const before = project;
  try {
    project = other.updateSnapshot({ openProjects: [join(root, 'tsconfig.json')] }).getProjects()[0]!;
    assert.deepEqual(lookups(planted), [
      'table[name]',
      'name in made',
      `made[\`x\${name}\`]`,
      'byKind[name as Kind]',
      'parsed[parsed.name]',
    ]);
  } finally {
    project = before;
    other.close();
  }
});
