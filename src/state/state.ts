/**
 * State that is data. A device or a hypervisor keeps what changes while the guest runs in one object that a
 * `StateStore` made for it: then resetting, saving and restoring it needs no code of its own.
 */
import { ownMember } from '../own-member.ts';

/** What a state may hold. Keys that the guest chooses belong into a Map or a Set, never into a plain object. */
export type Data =
  | number
  | bigint
  | string
  | boolean
  | undefined
  | TypedArray
  | readonly Data[]
  | ReadonlyMap<Data, Data>
  | ReadonlySet<Data>
  | { readonly [name: string]: Data };

type TypedArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

/**
 * The object that is a state. Hold on to this object alone and read through it: `initialise` and a restore keep it and
 * replace what is in it, arrays and nested objects included.
 */
export type State<T extends object> = T & {
  /** Puts a fresh `initial()` in place of the content: a reset. Not enumerable, so it is no part of what is saved. */
  initialise(): void;
};

/** Where states come from; a device's slot and a hypervisor's context are such. */
export interface States {
  /**
   * Makes the state `name`, with the content of `initial()`. Every member must be there from the beginning (as
   * undefined where it has no value yet). A member that begins as undefined, or as an empty array, Map or Set, may
   * hold any data later; every other one keeps its type, and arrays keep their length.
   * @param version to be raised whenever the members or their meaning change
   * @throws Error if the store has a state of that name
   */
  state<T extends object>(name: string, version: number, initial: () => T): State<T>;
}

/** All states of a machine, by name: plain data, a copy that shares nothing with the machine. */
export type StateTree = Record<string, { version: number; value: Data }>;

interface Entry {
  version: number;
  initial: () => object;
  state: object;
}

/** The states of one machine. */
export class StateStore implements States {
  readonly #entries = new Map<string, Entry>();

  state<T extends object>(name: string, version: number, initial: () => T): State<T> {
    if (this.#entries.has(name)) throw new Error(`state ${name}: the name is taken; give each instance its own scope`);
    const state = initial();
    if (kindOf(state) !== 'object') throw new Error(`state ${name}: a state is a plain object, not ${kindOf(state)}`);
    Object.defineProperty(state, 'initialise', { value: () => replace(state, initial()) });
    this.#entries.set(name, { version, initial, state });
    return state as State<T>;
  }

  /** The same store for one part of the machine: its states' names begin with `prefix` and a slash. */
  scope(prefix: string): States {
    return scoped(this, prefix);
  }

  /** @throws Error naming the first member that is not data, or that does not keep the type it began with */
  save(): StateTree {
    return Object.fromEntries(
      [...this.#entries].map(([name, { version, initial, state }]) => {
        const value = copy(state, name);
        check(value, initial() as Data, name);
        return [name, { version, value }];
      }),
    );
  }

  /**
   * Replaces the content of all states; `tree` may come from anywhere.
   * @throws Error if it is not the tree of a machine like this one; nothing has been replaced then
   */
  restore(tree: StateTree): void {
    for (const name of Object.keys(tree))
      if (!this.#entries.has(name)) throw new Error(`state ${name}: this machine has none of that name`);
    const values = new Map<object, Data>();
    for (const [name, { version, initial, state }] of this.#entries) {
      const saved = ownMember(tree, name);
      if (!saved) throw new Error(`state ${name}: missing in what is to be restored`);
      if (saved.version !== version)
        throw new Error(`state ${name}: saved as version ${saved.version}; this machine has version ${version}`);
      const value = copy(saved.value, name);
      check(value, initial() as Data, name);
      values.set(state, value);
    }
    for (const [state, value] of values) replace(state, value as object);
  }
}

/** `states` with `prefix` and a slash before every name. */
export function scoped(states: States, prefix: string): States {
  return { state: (name, version, initial) => states.state(`${prefix}/${name}`, version, initial) };
}

function replace(state: object, content: object): void {
  for (const name of Object.keys(state)) if (!Object.hasOwn(content, name)) Reflect.deleteProperty(state, name);
  Object.assign(state, content);
}

/**
 * A copy of `value`, which may come from anywhere. @param initial what it must be like: members, types, lengths
 * @throws Error naming the first thing at or below `path` in which it is not
 */
export function checkedCopy<T extends Data>(value: unknown, initial: T, path: string): T {
  const copied = copy(value, path);
  check(copied, initial, path);
  return copied as T;
}

/** What `value` is, as far as a restore must find the same again: 'number', 'Uint8Array', 'Map', 'object' … */
function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return 'object';
  return value.constructor.name;
}

const PLAIN = new Set(['number', 'bigint', 'string', 'boolean', 'undefined']);
const NESTING_LIMIT = 32;

/** A deep copy of `value`, which stands at `path`. @throws Error if anything in it is not data */
function copy(value: unknown, path: string, depth = 0): Data {
  const kind = kindOf(value);
  // It would be passed on by all that is computed from it, and no comparison with it holds: a loop might not end.
  if (Number.isNaN(value)) throw new Error(`state ${path}: not a number`);
  if (PLAIN.has(kind)) return value as Data;
  if (depth > NESTING_LIMIT) throw new Error(`state ${path}: nested more than ${NESTING_LIMIT} deep`);
  if (Array.isArray(value)) return value.map((member, index) => copy(member, `${path}[${index}]`, depth + 1));
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return (value as TypedArray).slice();
  if (value instanceof Map)
    return new Map(
      [...value].map(([key, member]) => [copy(key, path, depth + 1), copy(member, `${path}(${key})`, depth + 1)]),
    );
  if (value instanceof Set) return new Set([...value].map(member => copy(member, path, depth + 1)));
  if (kind !== 'object') throw new Error(`state ${path}: ${kind} is not data`);
  return Object.fromEntries(
    Object.entries(value as object).map(([name, member]) => {
      // Who puts members together in other ways (Object.assign) would set a prototype.
      if (name === '__proto__') throw new Error(`state ${path}: __proto__ cannot be a member`);
      return [name, copy(member, `${path}.${name}`, depth + 1)];
    }),
  );
}

/** @throws Error if `value` could not have come from `initial`: other members, types or lengths */
function check(value: Data, initial: Data, path: string): void {
  if (initial === undefined) return;
  const [found, expected] = [kindOf(value), kindOf(initial)];
  if (found !== expected) throw new Error(`state ${path}: ${found} where it began as ${expected}`);
  if (Number.isFinite(initial) && !Number.isFinite(value)) throw new Error(`state ${path}: ${value} is not finite`);
  if (Array.isArray(initial) || ArrayBuffer.isView(initial)) {
    const { length } = value as TypedArray;
    if (initial.length > 0 && length !== initial.length)
      throw new Error(`state ${path}: ${length} elements where it began with ${initial.length}`);
    if (Array.isArray(initial))
      for (const [index, member] of initial.entries())
        check((value as readonly Data[])[index], member, `${path}[${index}]`);
  } else if (expected === 'object') {
    for (const name of Object.keys(value as object))
      if (!Object.hasOwn(initial as object, name)) throw new Error(`state ${path}: no member ${name} at the beginning`);
    for (const [name, member] of Object.entries(initial as { [name: string]: Data })) {
      if (!Object.hasOwn(value as object, name)) throw new Error(`state ${path}: member ${name} is missing`);
      check(ownMember(value as { [name: string]: Data }, name), member, `${path}.${name}`);
    }
  }
}
