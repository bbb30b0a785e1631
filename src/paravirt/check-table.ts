/** Is this a hypervisor's table? Asked of those that come from a file, and by the conformance suite of all. */
import { ownMember } from '../own-member.ts';
import { native, nothing } from './native.ts';
import type { Paravirt } from './operations.ts';
import { operations } from './operations.ts';

/** Members of the groups that are no ops, with what they must be. */
const VALUES: Readonly<Record<string, Readonly<Record<string, (value: unknown) => boolean>>>> = {
  boot: {
    platform: value => ['pc', 'partition', 'local-apic', 'none'].includes(value as string),
    console: value => typeof value === 'string' && value !== '',
    firmwareRam: value => value === undefined || typeof value === 'function',
    cards: value => value === undefined || (Array.isArray(value) && value.every(isObject)),
    takesModules: value => value === undefined || typeof value === 'boolean',
    diskBuses: isListOfNames,
    networkBuses: isListOfNames,
    vsockBuses: isListOfNames,
    rebuild: value => value === undefined || typeof value === 'function',
    devices: value => Array.isArray(value) && value.every(id => /^[A-Za-z0-9]{4,8}$/.test(id)),
  },
  cpu: { msrs: isObject, hypercalls: isObject, convention: value => value === undefined || isObject(value) },
  mmu: {},
  irq: {},
  time: {},
  smp: { maximum: value => Number.isInteger(value) && (value as number) >= 1 },
};

/** The first thing that is wrong with `table`, in words; undefined if nothing is. */
export function mistakeIn(table: Paravirt): string | undefined {
  if (!isObject(table)) return 'is no table of ops';
  if (typeof table.name !== 'string' || !/^[a-z][a-z0-9-]*$/.test(table.name))
    return 'its name is not lower-case letters, digits and hyphens';
  if (typeof table.title !== 'string' || table.title.length <= 10 || table.title.includes('\n'))
    return 'its title is no line that says what it is';
  if (!isObject(table.skip)) return 'skip is missing';
  for (const name of ['restoring', 'restored', 'requestShutdown', 'requestMemory'] as const)
    if (table[name] !== undefined && typeof table[name] !== 'function') return `${name} is no function`;
  if (table.fastPaths !== undefined && !isObject(table.fastPaths)) return 'fastPaths is no object';
  for (const [group, ops] of Object.entries(operations)) {
    const members = ownMember(table as unknown as Record<string, unknown>, group);
    if (!isObject(members)) return `${group} is missing`;
    const mistake = mistakeInGroup(group, ops, members);
    if (mistake) return mistake;
  }
  return undefined;
}

function mistakeInGroup(group: string, ops: object, members: Record<string, unknown>): string | undefined {
  for (const name of Object.keys(ops)) {
    if (!Object.hasOwn(members, name)) return `${group}.${name} is missing`;
    const op = ownMember(members, name);
    if (op !== native && op !== nothing && typeof op !== 'function')
      return `${group}.${name} is neither native, nothing nor a function`;
  }
  const values = ownMember(VALUES, group)!;
  for (const [name, fits] of Object.entries(values)) {
    const value = ownMember(members, name);
    if (!fits(value)) return `${group}.${name} is ${String(value)}`;
  }
  const unknown = Object.keys(members).find(name => !Object.hasOwn(ops, name) && !Object.hasOwn(values, name));
  return unknown && `${group}.${unknown} is no op of the waist`;
}

/** True for names of buses, and where there are none. */
function isListOfNames(value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.every(name => /^[a-z][a-z0-9-]*$/.test(name)));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
