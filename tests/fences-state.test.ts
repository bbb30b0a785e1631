/**
 * What a device or a hypervisor knows stands in its state (src/state), where a snapshot finds it: not in private
 * fields that are assigned to, and not in variables that closures keep alive.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root, sources, withoutComments } from './sources.ts';

const FENCED = ['src/devices/', 'src/hypervisors/', 'src/boot/bios/'];

/** What may change outside of a state, by file and name, with the reason. */
const ALLOWED: Readonly<Record<string, string>> = {
  'src/devices/local-apic.ts pins': 'wiring, set when the machine is built',
  'src/devices/local-apic.ts onMove': 'wiring, set when the board is built',
  'src/devices/local-apic.ts onRestoring': 'wiring, set when the board is built',
  'src/devices/local-apic.ts onRestored': 'wiring, set when the board is built',
  'src/devices/pic-8259.ts onOutput': 'wiring, set when the board is built',
  'src/boot/bios/display.ts pending': 'scratch: empty between calls',
  'src/devices/virtio/virtqueue.ts head': 'scratch: filled by each pop',
  'src/devices/virtio/virtqueue.ts count': 'scratch: filled by each pop',
  'src/devices/virtio/virtqueue.ts readable': 'scratch: filled by each pop',
  'src/devices/virtio/virtqueue.ts readableLength': 'scratch: filled by each pop',
  'src/devices/virtio/virtqueue.ts writableLength': 'scratch: filled by each pop',
  'src/hypervisors/xen/domain-slot.ts built': 'set once, when the domain is built',
  'src/hypervisors/xen/hypercall.ts unfinished': 'of an object that lives as long as one call',
  'src/hypervisors/xen-pv/pv-vcpu.ts stepping': 'true only within one call of stepWithWritable',
  'src/hypervisors/xen-pv/page-types.ts onLinearEntries': 'wiring, set when the domain is built',
  'src/hypervisors/xen-pv/layout.ts next': 'a position while the domain is being laid out',
  'src/devices/manual-clock.ts high': 'a test reads it',
  'src/devices/manual-clock.ts edges': 'a test reads it',
};

/** Names of class fields that can be assigned to after the constructor, and whether they may is another question. */
function mutableFields(text: string): string[] {
  const field =
    /^ {2}(?:override |protected |private |public )?(#?\w+)[?!]?(?:: [^=(]*(?:\([^)]*\) => [^=]*)?)?(?: = .*|;)$/;
  let inClass = false;
  return text.split('\n').flatMap(line => {
    if (/^(?:export )?(?:abstract )?class /.test(line)) inClass = true;
    else if (/^\S/.test(line)) inClass = false;
    const found = inClass && field.exec(line);
    return found ? [found[1]] : [];
  });
}

/** Names of variables that functions within the one that declares them assign to, and of all variables of modules. */
function keptVariables(text: string): string[] {
  const code = text.replace(/'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g, quoted => quoted.replace(/[^\n]/g, ' '));
  /** For each position, the starts of the blocks around it, and which of these are bodies of functions. */
  const blocks: { start: number; end: number; isFunction: boolean; parent: number }[] = [];
  const open: number[] = [];
  for (const { 0: brace, index } of code.matchAll(/[{}]/g)) {
    if (brace === '}') {
      const block = open.pop();
      if (block !== undefined) blocks[block].end = index;
      continue;
    }
    blocks.push({
      start: index,
      end: code.length,
      isFunction: opensFunction(code.slice(0, index)),
      parent: open.at(-1) ?? -1,
    });
    open.push(blocks.length - 1);
  }
  const around = (position: number) => blocks.filter(({ start, end }) => start < position && position < end);
  const kept: string[] = [];
  for (const { 1: names, index } of code.matchAll(/\blet (\w+(?:(?:: [^=;\n]+)?(?: = [^;,\n]+)?, \w+)*)/g)) {
    const outside = around(index);
    const scope = outside.at(-1);
    for (const name of names.split(',').map(part => /\w+/.exec(part)![0])) {
      if (!scope) {
        kept.push(name);
        continue;
      }
      const assigned = new RegExp(
        `(?<![\\w.#])${name}(?: (?:[-+*/%&|^]|<<|>>>?|\\?\\?|\\|\\||&&)?= |\\+\\+|--)|(?:\\+\\+|--)${name}\\b`,
        'g',
      );
      for (const { index: at } of code.matchAll(assigned)) {
        if (at <= index + 4 || at > scope.end) continue;
        const within = around(at).filter(block => !outside.includes(block));
        const line = code.slice(code.lastIndexOf('\n', at) + 1, at);
        if (within.some(({ isFunction }) => isFunction) || / => (?:void )?\(?$/.test(line)) {
          kept.push(name);
          break;
        }
      }
    }
  }
  return kept;
}

/** True if the brace after `before` opens the body of a function: not of an `if`, a loop, an object or a class. */
function opensFunction(before: string): boolean {
  if (/=>\s*$/.test(before)) return true;
  const head = /\)(?:: [^;{}]+?)?\s*$/.exec(before.slice(-200));
  if (!head) return false;
  let depth = 0;
  for (let at = before.length - head[0].length; at >= 0; at--) {
    if (before[at] === ')') depth++;
    else if (before[at] === '(' && --depth === 0)
      return !/\b(?:if|for|while|switch|catch)\s*$/.test(before.slice(Math.max(0, at - 10), at));
  }
  return false;
}

function findings(file: string): string[] {
  const text = withoutComments(readFileSync(join(root, file), 'utf8'));
  return [...mutableFields(text), ...keptVariables(text)].map(name => `${file} ${name.replace('#', '')}`);
}

const files = FENCED.flatMap(sources);

test('what devices and hypervisors know stands in their states', () => {
  assert.ok(files.length > 80, `${files.length} files`);
  const found = files.flatMap(findings);
  assert.deepEqual(
    found.filter(finding => !(finding in ALLOWED)),
    [],
  );
});

test('what is allowed is there', () => {
  const found = files.flatMap(findings);
  for (const allowed of Object.keys(ALLOWED)) assert.ok(found.includes(allowed), `${allowed} is not there any more`);
});

test('this test would notice one', () => {
  const source = `
const LIMIT = 1;
let latest = 0;
export class Chip {
  readonly #clock: Clock;
  #count = 0;
  #alarm: Alarm | undefined;
  onChange: () => void = () => {};
  static make(): Chip {
    let local = 0;
    for (const x of y) local += x;
    if (local) { local = 2; }
    return local;
  }
}
export function create(context: Context): Ops {
  let pending = false, plain = 1;
  let by = 0;
  plain = 2;
  return {
    get count() { return by; },
    request(cpu): void { pending = true; },
    add: n => (by += n),
  };
}
`;
  assert.deepEqual(mutableFields(source), ['#count', '#alarm', 'onChange']);
  assert.deepEqual(keptVariables(source), ['latest', 'pending', 'by']);
});
