/** What a binary says of itself: a JSON text that its export polyvisor_manifest points to. */
import { ownMember } from '../own-member.ts';
import type { Hypercall } from '../paravirt/operations.ts';
import { operations } from '../paravirt/operations.ts';
import { ABI_VERSION, ENDED_OPERATIONS, findExport } from './abi.ts';
import { shortened } from './guard.ts';

export interface ManifestMsr {
  index: number;
  name: string;
  access: 'read' | 'write' | 'read-write';
}

export interface Manifest {
  name: string;
  title: string;
  platform: 'pc' | 'local-apic';
  console: string;
  /** What is not native, by its name in the waist. */
  operations: Readonly<Record<string, 'function' | 'nothing' | 'native'>>;
  msrs: readonly ManifestMsr[];
  hypercalls: Readonly<Record<number, Hypercall>>;
  /** Cases of the conformance suite that do not apply, with the reason. */
  skip: Readonly<Record<string, string>>;
}

/** Longest manifest, in bytes. */
export const MANIFEST_SIZE = 1 << 16;
const MEMBERS = ['abi', 'name', 'title', 'platform', 'console', 'operations', 'msrs', 'hypercalls', 'skip'];

/** @throws Error with what is wrong */
export function parseManifest(text: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`the manifest is no JSON: ${shortened((error as Error).message)}`);
  }
  const manifest = record(json, 'the manifest');
  checkVersion(manifest.abi);
  const unknown = Object.keys(manifest).find(member => !MEMBERS.includes(member));
  if (unknown !== undefined) throw new Error(`the manifest has "${shortened(unknown)}", which no manifest has`);
  const { platform = 'pc', console = 'ttyS0' } = manifest;
  if (platform !== 'pc' && platform !== 'local-apic')
    throw new Error(`the manifest's platform is ${show(platform)}: "pc" or "local-apic"`);
  return {
    name: line(manifest.name, 'name'),
    title: line(manifest.title, 'title'),
    platform,
    console: line(console, 'console'),
    operations: parseOperations(record(manifest.operations ?? {}, 'operations')),
    msrs: list(manifest.msrs, 'msrs').map(parseMsr),
    hypercalls: Object.fromEntries(list(manifest.hypercalls, 'hypercalls').map(parseHypercall)),
    skip: Object.fromEntries(
      Object.entries(record(manifest.skip ?? {}, 'skip')).map(([name, reason]) => [name, line(reason, 'skip')]),
    ),
  };
}

/** @throws Error unless a binary made for version `abi` runs here */
export function checkVersion(abi: unknown): void {
  const match = typeof abi === 'string' ? /^(\d{1,9})\.(\d{1,9})$/.exec(abi) : null;
  if (!match) throw new Error(`the manifest's abi is ${show(abi)}: a version such as "1.1" is wanted`);
  const [major, minor] = [Number(match[1]), Number(match[2])];
  const ours = `${ABI_VERSION.major}.${ABI_VERSION.minor}`;
  if (major !== ABI_VERSION.major || minor > ABI_VERSION.minor)
    throw new Error(`was made for version ${major}.${minor} of the binary interface: this is ${ours}`);
}

function parseOperations(members: Record<string, unknown>): Manifest['operations'] {
  for (const [operation, answer] of Object.entries(members)) {
    if (ENDED_OPERATIONS.has(operation)) {
      if (answer === 'native') continue;
      throw new Error(`the manifest answers the op ${operation}, which is not asked any more: leave it out`);
    }
    const [group, member] = operation.split('.');
    const inWaist = Object.hasOwn(ownMember<object>(operations, group) ?? {}, member ?? '');
    if (!findExport(operation))
      throw new Error(
        inWaist
          ? `the manifest names the op ${operation}, which a binary cannot answer`
          : `the manifest names the op ${shortened(operation)}: there is none of that name`,
      );
    if (answer !== 'function' && answer !== 'nothing' && answer !== 'native')
      throw new Error(`the manifest answers ${operation} with ${show(answer)}: "function", "nothing" or "native"`);
  }
  return members as Manifest['operations'];
}

function parseMsr(entry: unknown): ManifestMsr {
  const { index, name, access = 'read-write' } = record(entry, 'a register of msrs');
  if (access !== 'read' && access !== 'write' && access !== 'read-write')
    throw new Error(
      `the manifest's register ${show(name)} has the access ${show(access)}: "read", "write", "read-write"`,
    );
  return { index: u32(index, 'the index of a register'), name: line(name, 'the name of a register'), access };
}

function parseHypercall(entry: unknown): [number, Hypercall] {
  const { number, name, arguments: words = [], status = 'done', note } = record(entry, 'an entry of hypercalls');
  if (status !== 'done' && status !== 'partly')
    throw new Error(`the manifest's hypercall ${show(name)} is ${show(status)}`);
  const call: Hypercall = {
    name: line(name, 'the name of a hypercall'),
    arguments: list(words, 'arguments').map(word => line(word, 'an argument')),
    status,
  };
  if (note !== undefined) call.note = line(note, 'note');
  return [u32(number, 'the number of a hypercall'), call];
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${what} is no JSON object`);
  return value as Record<string, unknown>;
}

function list(value: unknown, what: string): unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new Error(`the manifest's ${what} is no list`);
  return value;
}

function line(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '' || value !== shortened(value))
    throw new Error(`the manifest's ${what} is ${show(value)}: a line of text is wanted`);
  return value;
}

/** A number, or a text such as "0x40000000", since JSON has no hexadecimal. */
function u32(value: unknown, what: string): number {
  const number = typeof value === 'string' && /^(0x[0-9a-f]+|\d+)$/i.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || number >>> 0 !== number)
    throw new Error(`the manifest's ${what} is ${show(value)}: a number of 32 bits is wanted`);
  return number;
}

function show(value: unknown): string {
  return shortened(JSON.stringify(value) ?? 'missing');
}
