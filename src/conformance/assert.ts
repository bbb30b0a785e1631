/** What the suite demands, as functions that throw: node:assert's names, in one line each, and for every host. */
import { ownMember } from '../own-member.ts';

export class ConformanceError extends Error {
  override name = 'ConformanceError';
}

const fail = (message: string): never => {
  throw new ConformanceError(message);
};

/** A value in a line: bigints and symbols too. */
function show(value: unknown): string {
  const text = JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'bigint'
      ? `${part}`
      : typeof part === 'symbol'
        ? part.toString()
        : part instanceof Map || part instanceof Set
          ? [...part]
          : part,
  );
  return text === undefined ? String(value) : text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

const withMessage = (message: string | undefined, found: string) => (message ? `${message}: ${found}` : found);

export function ok(value: unknown, message = 'it is not so'): asserts value {
  if (!value) fail(message);
}

export function equal<T>(actual: unknown, expected: T, message?: string): asserts actual is T {
  if (!Object.is(actual, expected)) fail(withMessage(message, `${show(actual)} is not ${show(expected)}`));
}

export function notEqual(actual: unknown, other: unknown, message?: string): void {
  if (Object.is(actual, other)) fail(withMessage(message, `it is ${show(other)}`));
}

export function deepEqual(actual: unknown, expected: unknown, message?: string): void {
  if (!same(actual, expected)) fail(withMessage(message, `${show(actual)} is not ${show(expected)}`));
}

export function notDeepEqual(actual: unknown, other: unknown, message?: string): void {
  if (same(actual, other)) fail(withMessage(message, `it is ${show(other)}`));
}

export function match(text: string, pattern: RegExp, message?: string): void {
  if (!pattern.test(text)) fail(withMessage(message, `${show(text)} does not match ${pattern}`));
}

/** Equal in structure: objects, arrays, typed arrays, Maps and Sets member by member, all else by Object.is. */
function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Map) return sameMap(a, b as Map<unknown, unknown>);
  if (a instanceof Set)
    return a.size === (b as Set<unknown>).size && [...a].every(member => (b as Set<unknown>).has(member));
  const [x, y] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(x);
  return (
    keys.length === Object.keys(y).length &&
    keys.every(key => Object.hasOwn(y, key) && same(ownMember(x, key), ownMember(y, key)))
  );
}

function sameMap(a: ReadonlyMap<unknown, unknown>, b: ReadonlyMap<unknown, unknown>): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.has(key) && same(value, b.get(key)));
}
