/**
 * The waist, live: every op of the table with who answers it and how often it was asked, the calls and registers behind them, and
 * the latest crossings. All numbers are those of `Statistics`, which `run --json` writes, too.
 */
import { bare } from '../src/hypervisors/bare/index.ts';
import { findHypervisor } from '../src/hypervisors/list.ts';
import type { Statistics } from '../src/machine/options.ts';
import { type Comparison, compare, tableOf } from '../src/paravirt/compare.ts';
import { native, nothing } from '../src/paravirt/native.ts';
import type { AnyOperation } from '../src/paravirt/operation.ts';
import { operations } from '../src/paravirt/operations.ts';
import type { Crossing } from '../src/paravirt/trace.ts';
import { element } from './dom.ts';
import { count, seconds, short } from './numbers.ts';

export const GROUPS = Object.keys(operations) as (keyof typeof operations)[];

/** Lines of a table, and of the latest crossings. */
const MOST_ROWS = 8;
const FEED_ROWS = 10;
/** A crossing's arguments are cut here. */
const LONGEST_LINE = 120;

/** An op as the page shows it: its place, and what its count was when it was last shown. */
interface Shown {
  element: HTMLElement;
  number: HTMLElement;
  read(statistics: Statistics): number;
  last: number;
}

export interface WaistView {
  readonly element: HTMLElement;
  /** How often each group was crossed until now, and how often the machine itself was asked: in the order of GROUPS, then that. */
  update(statistics: Statistics, crossings: readonly Crossing[]): number[];
}

export function createWaistView(hypervisor: string): WaistView {
  const table = tableOf(findHypervisor(hypervisor)!);
  const comparison = compare(table, tableOf(bare));
  const own = new Set(comparison.msrs.map(({ name }) => name));
  const shown: Shown[] = [];
  const rates = new Map<string, HTMLElement>();

  const chip = (name: string, kind: string, title: string, read?: Shown['read'], key?: string) => {
    const made = element('li', { class: `op ${kind}`, title }, name);
    if (read) {
      const number = element('b', { 'data-count': key }, '0');
      made.append(number);
      shown.push({ element: made, number, read, last: 0 });
    }
    return made;
  };
  const groups = GROUPS.map(group => {
    const list = element('ul', { class: 'ops' });
    for (const [name, { noted }] of Object.entries<AnyOperation>(operations[group])) {
      const answer = (table[group] as unknown as Record<string, unknown>)[name];
      const key = `${group}.${name}`;
      if (answer === native) list.append(chip(name, 'native', 'as bare hardware does it'));
      else if (answer === nothing) list.append(chip(name, 'nothing', 'nothing is to be done'));
      else if (group === 'boot') list.append(chip(name, 'own', `${hypervisor} does this itself, once`));
      else if (noted === 'never')
        list.append(chip(name, 'own', `${hypervisor} answers this itself, too often to count`));
      else list.append(chip(name, 'own', `${hypervisor} answers this itself`, of => of.operations[key] ?? 0, key));
    }
    if (group === 'cpu' && own.size > 0) {
      const names = [...own].join(', ');
      list.append(chip(`${own.size} own MSRs`, 'own', names, of => ownAccesses(of, own), 'cpu.msrs'));
    }
    const rate = element('output', { class: 'rate' });
    rates.set(group, rate);
    return element('div', { class: 'group', 'data-group': group }, element('h3', {}, group), list, rate);
  });

  const hypercalls = createTable('Hypercalls');
  const msrs = createTable('Its registers');
  const exits = createTable('What left translated code');
  const feed = element('ol', { class: 'feed', 'aria-label': 'The latest crossings' });
  const latest = element('div', {}, element('h3', {}, 'The latest crossings'), feed);
  const made = element(
    'div',
    { class: 'waist', 'aria-label': `What ${hypervisor} answers` },
    element('div', {}, ...groups),
    legend(hypervisor),
    latest,
    element('div', { class: 'tables' }, hypercalls.element, msrs.element, exits.element),
  );
  const lines: HTMLElement[] = [];
  let before = GROUPS.map(() => 0);
  let at = performance.now();

  return {
    element: made,
    update(statistics, crossings) {
      for (const one of shown) {
        const value = one.read(statistics);
        one.element.classList.toggle('hot', value > one.last);
        if (value !== one.last) one.number.textContent = count(value);
        one.last = value;
      }
      hypercalls.show(Object.entries(statistics.hypercalls));
      msrs.show(Object.entries(statistics.msrs).filter(([name]) => own.has(registerOf(name))));
      exits.show(Object.entries(statistics.exits));
      for (const crossing of crossings.slice(-FEED_ROWS)) lines.push(feedLine(crossing));
      lines.splice(0, lines.length - FEED_ROWS);
      feed.replaceChildren(...lines);
      latest.hidden = lines.length === 0;

      const totals = GROUPS.map(group => groupTotal(statistics, group, own));
      const now = performance.now();
      const passed = Math.max(0.02, (now - at) / 1000);
      for (const [index, group] of GROUPS.entries()) {
        const rate = (totals[index]! - before[index]!) / passed;
        rates.get(group)!.textContent = rate > 0 ? `${short(rate)}/s` : '';
      }
      before = totals;
      at = now;
      return [...totals, hardware(statistics, comparison)];
    },
  };
}

/** `read MSR_KVM_STEAL_TIME` without its first word. */
const registerOf = (access: string) => access.slice(access.indexOf(' ') + 1);

function ownAccesses({ msrs }: Statistics, own: ReadonlySet<string>): number {
  let sum = 0;
  for (const [name, times] of Object.entries(msrs)) if (own.has(registerOf(name))) sum += times;
  return sum;
}

function groupTotal(statistics: Statistics, group: string, own: ReadonlySet<string>): number {
  let sum = group === 'cpu' ? ownAccesses(statistics, own) : 0;
  for (const [name, times] of Object.entries(statistics.operations)) if (name.startsWith(`${group}.`)) sum += times;
  return sum;
}

/** What the machine was asked that no hypervisor answers: ports, registers of devices and of the processor. */
function hardware({ exits, operations }: Statistics, { operations: differences }: Comparison): number {
  let sum = 0;
  for (const [name, times] of Object.entries(exits)) if (/port|mmio|msr/.test(name)) sum += times;
  if (!differences.some(({ operation }) => operation === 'cpuid')) sum += exits.cpuid ?? 0;
  return operations['irq.delivered'] === undefined ? sum + (exits.interrupt ?? 0) : sum;
}

function legend(hypervisor: string): HTMLElement {
  const parts =
    hypervisor === 'bare'
      ? [element('span', { class: 'op native' }, 'native'), 'bare hardware answers everything natively']
      : [
          element('span', { class: 'op own', 'data-group': 'cpu' }, 'op'),
          `${hypervisor} answers itself, so often`,
          element('span', { class: 'op native' }, 'op'),
          'native: as bare hardware does',
          element('span', { class: 'op nothing' }, 'op'),
          'nothing is to be done',
        ];
  return element('p', { class: 'legend' }, ...parts);
}

function createTable(caption: string) {
  const body = element('tbody');
  const table = element('table', {}, element('caption', {}, caption), body);
  table.hidden = true;
  return {
    element: table,
    show(entries: [string, number][]) {
      table.hidden = entries.length === 0;
      const most = entries.sort(([, x], [, y]) => y - x).slice(0, MOST_ROWS);
      body.replaceChildren(
        ...most.map(([name, times]) =>
          element('tr', {}, element('td', { title: name }, name), element('td', {}, count(times))),
        ),
      );
    },
  };
}

/** `3.214159 cpuid leaf=40000000`. */
function feedLine(crossing: Crossing): HTMLElement {
  const { time, operation, name, result } = crossing;
  const [group = '', op = ''] = operation.split('.');
  const words = Object.entries(crossing.arguments)
    // A named register or hypercall needs no number beside its name.
    .filter(([word]) => !(name && (word === 'index' || word === 'number')))
    .map(([word, value]) => `${word}=${value.toString(16)}`);
  const answer = result === undefined ? '' : ` → ${result.toString(16)}`;
  const text = ` ${[name, ...words].filter(Boolean).join(' ')}${answer}`.slice(0, LONGEST_LINE);
  return element(
    'li',
    { 'data-group': group },
    element('span', { class: 'at' }, `${seconds(time, 6)} `),
    element('span', { class: 'what' }, op),
    text,
  );
}
