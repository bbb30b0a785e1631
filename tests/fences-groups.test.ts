/**
 * The contract of paravirt/group.ts, held to by every hypervisor's folder: what its group files export, and that index.ts
 * puts exactly these together.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { GROUPS, type GroupName } from '../src/paravirt/group.ts';

const sources = new URL('../../src/hypervisors/', import.meta.url);

/** Hypervisors: folders with an index.ts. Others hold what several hypervisors share. */
const folders = readdirSync(sources, { withFileTypes: true })
  .filter(entry => entry.isDirectory() && existsSync(new URL(`${entry.name}/index.ts`, sources)))
  .map(entry => entry.name);

/** `cpu` → `createCpu`. */
const creator = (group: GroupName) => `create${group[0].toUpperCase()}${group.slice(1)}`;

/** What is wrong with the source of a group's file, in words. */
function mistakeIn(group: GroupName, exported: readonly string[], text: string): string | undefined {
  if (exported.join() !== creator(group)) return `exports ${exported.join(', ') || 'nothing'}`;
  const signature = new RegExp(`^export function ${creator(group)}\\(\\s*([^)]*)\\): Group<'${group}'> \\{$`, 'm').exec(
    text,
  );
  if (!signature) return `${creator(group)} is no function with the result Group<'${group}'>`;
  return /^(?:_?context|\{[^}]*\}): HypervisorContext\b/.test(signature[1])
    ? undefined
    : 'the first parameter is no context';
}

/** What is wrong with an index.ts whose folder has the files of `groups`. */
function mistakeInIndex(groups: readonly GroupName[], text: string): string | undefined {
  for (const group of groups)
    if (!new RegExp(`^ +${group}: ${creator(group)}\\(context\\b`, 'm').test(text))
      return `${group}.ts is not in its list`;
  for (const group of GROUPS)
    if (!groups.includes(group) && new RegExp(`^ +${group}: `, 'm').test(text))
      return `has ${group}, without a ${group}.ts`;
  if (/\b(?:msrs|hypercalls)\b/.test(text.replace(/\/\*[\s\S]*?\*\/|'[^'\n]*'/g, '')))
    return 'knows registers or hypercalls: these belong to the groups';
  return /\bmake(?:: |\()\(?context, base = bareTable(?:, options\?)?\)/.test(text)
    ? undefined
    : 'make does not take a base';
}

async function mistakesIn(folder: string): Promise<string[]> {
  const groups = GROUPS.filter(group => existsSync(new URL(`${folder}/${group}.ts`, sources)));
  const read = (file: string) => readFileSync(new URL(`${folder}/${file}.ts`, sources), 'utf8');
  const mistakes: string[] = [];
  for (const group of groups) {
    const exported = Object.keys((await import(`../src/hypervisors/${folder}/${group}.js`)) as object);
    const mistake = mistakeIn(group, exported, read(group));
    if (mistake) mistakes.push(`${folder}/${group}.ts: ${mistake}`);
  }
  const mistake = mistakeInIndex(groups, read('index'));
  if (mistake) mistakes.push(`${folder}/index.ts: ${mistake}`);
  return mistakes;
}

test('the folders are found', () => {
  assert.ok(folders.length >= 7);
  assert.ok(folders.includes('kvm') && !folders.includes('xen'));
});

for (const folder of folders.filter(name => name !== 'bare'))
  test(`hypervisors/${folder}: its group files export what paravirt/group.ts says, and index.ts is a list of them`, async () => {
    assert.deepEqual(await mistakesIn(folder), []);
  });

test('this test would notice a group of another shape', () => {
  const good = "export function createIrq(context: HypervisorContext, parts: Parts): Group<'irq'> {";
  assert.equal(mistakeIn('irq', ['createIrq'], good), undefined);
  assert.ok(mistakeIn('irq', ['createIrq', 'msrs'], good));
  assert.ok(mistakeIn('irq', ['createPvEoi'], good));
  assert.ok(mistakeIn('irq', ['createIrq'], good.replace("Group<'irq'>", 'Partial<IrqOps>')));
  assert.ok(mistakeIn('irq', ['createIrq'], good.replace('context: HypervisorContext, ', '')));
  const index = '  make: (context, base = bareTable) =>\n    derive(base, {\n      cpu: createCpu(context),\n    }),\n';
  assert.equal(mistakeInIndex(['cpu'], index), undefined);
  assert.ok(mistakeInIndex(['cpu', 'irq'], index));
  assert.ok(mistakeInIndex([], index));
  assert.ok(mistakeInIndex(['cpu'], `${index}msrs: {},`));
});
