/**
 * The xenstore: a small tree of values with watches, transactions and permissions, by which a guest and its back ends
 * find each other (docs/misc/xenstore.txt of Xen). This is the store itself; xenstore-ring.ts speaks its wire protocol.
 *
 * Every caller is a domain. Domain 0 (ourselves) may do all; a guest is held to permissions and to quotas.
 */

import type { State, States } from '../../state/state.ts';

/** Error names as they go over the wire. */
export type StoreErrorName =
  | 'EINVAL'
  | 'EACCES'
  | 'EEXIST'
  | 'ENOENT'
  | 'ENOMEM'
  | 'ENOSPC'
  | 'ENOSYS'
  | 'EBUSY'
  | 'EAGAIN'
  | 'E2BIG'
  | 'EPERM';

export class StoreError extends Error {
  readonly code: StoreErrorName;
  constructor(code: StoreErrorName) {
    super(code);
    this.code = code;
  }
}

/**
 * One entry of a permission list: `n` none, `r` read, `w` write, `b` both; the first names the owner and the default.
 */
export type Permission = `${'n' | 'r' | 'w' | 'b'}${number}`;

/** Longest paths (XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX). */
export const ABSOLUTE_PATH_MAX = 3072;
export const RELATIVE_PATH_MAX = 2048;
/**
 * Quotas of a guest, Xen's defaults: nodes owned, watches, transactions open, bytes of a value, permissions of a node.
 */
export const QUOTA_NODES = 1000;
export const QUOTA_WATCHES = 128;
export const QUOTA_TRANSACTIONS = 10;
export const QUOTA_VALUE = 2048;
export const QUOTA_PERMISSIONS = 5;
/** Nodes one transaction may touch. */
export const QUOTA_TOUCHED = 1024;

interface Node {
  value: Uint8Array;
  /** Names of children, in the order they were made. */
  children: Set<string>;
  permissions: readonly Permission[];
  /** Grows with every change of the value, the children or the permissions: what transactions compare. */
  generation: number;
}

interface Watch {
  domain: number;
  /** Absolute path, or a special one such as @releaseDomain. */
  path: string;
  token: string;
  /** Chops this much off event paths: the watch was set on a relative path. */
  prefix: string;
}

interface Change {
  path: string;
  /** The whole subtree went: watches below it fire too. */
  removed: boolean;
}

interface Transaction {
  domain: number;
  /** Copies of nodes as the transaction has changed them; undefined: removed. */
  written: Map<string, Node | undefined>;
  /** Generation of each node read or written when first touched; -1 where there was none. */
  touched: Map<string, number>;
  changes: Change[];
}

interface StoreState {
  nodes: Map<string, Node>;
  watches: Watch[];
  transactions: Map<number, Transaction>;
  /** How many nodes each domain owns. */
  owned: Map<number, number>;
  nextTransaction: number;
  generation: number;
}

function initialStore(): StoreState {
  const root: Node = { value: new Uint8Array(), children: new Set(), permissions: ['n0'], generation: 0 };
  return {
    nodes: new Map([['/', root]]),
    watches: [],
    transactions: new Map(),
    owned: new Map(),
    nextTransaction: 1,
    generation: 1,
  };
}

/** Hears of a change: the path as the watch was set, and the watch's token. */
type Listener = (path: string, token: string) => void;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class Xenstore {
  readonly #state: State<StoreState>;
  /** Listeners of watches, by the domain that set the watches. */
  readonly #listeners = new Map<number, Listener>();

  constructor(states: States) {
    this.#state = states.state('xenstore', 1, initialStore);
  }

  /** Has `listener` hear of all watches that `domain` sets from now on or has set: once for each domain. */
  listen(domain: number, listener: Listener): void {
    this.#listeners.set(domain, listener);
  }

  /** The absolute form of a path that `domain` uses, checked. @throws StoreError EINVAL */
  resolve(domain: number, path: string): string {
    if (path.startsWith('@')) throw new StoreError('EINVAL');
    const relative = !path.startsWith('/');
    if (!path || path.length > (relative ? RELATIVE_PATH_MAX : ABSOLUTE_PATH_MAX)) throw new StoreError('EINVAL');
    if (!/^[-\w/@]+$/.test(path) || path.includes('//') || (path.length > 1 && path.endsWith('/')))
      throw new StoreError('EINVAL');
    return relative ? `${homeOf(domain)}/${path}` : path;
  }

  read(domain: number, path: string, transaction = 0): Uint8Array {
    return this.#get(domain, this.resolve(domain, path), 'r', transaction).value;
  }

  /** The value as text, or undefined: for back ends. */
  readText(path: string): string | undefined {
    const node = this.#state.nodes.get(path);
    return node && decoder.decode(node.value);
  }

  /** Children's names. */
  directory(domain: number, path: string, transaction = 0): string[] {
    return [...this.#get(domain, this.resolve(domain, path), 'r', transaction).children];
  }

  /**
   * Grows with every change of the node: what DIRECTORY_PART shows, so that a reader notices a change between parts.
   */
  generation(domain: number, path: string, transaction = 0): number {
    return this.#get(domain, this.resolve(domain, path), 'r', transaction).generation;
  }

  write(domain: number, path: string, value: Uint8Array | string, transaction = 0): void {
    const data = typeof value === 'string' ? encoder.encode(value) : value;
    if (domain !== 0 && data.length > QUOTA_VALUE) throw new StoreError('ENOSPC');
    const absolute = this.resolve(domain, path);
    const old = this.#find(absolute, transaction);
    if (old) {
      this.#check(domain, old, 'w');
      this.#store(absolute, { ...old, value: data.slice() }, transaction);
    } else this.#create(domain, absolute, data.slice(), transaction);
    this.#changed({ path: absolute, removed: false }, transaction);
  }

  mkdir(domain: number, path: string, transaction = 0): void {
    const absolute = this.resolve(domain, path);
    const old = this.#find(absolute, transaction);
    if (old) {
      this.#check(domain, old, 'w');
      return;
    }
    this.#create(domain, absolute, new Uint8Array(), transaction);
    this.#changed({ path: absolute, removed: false }, transaction);
  }

  /** Removes a node and all below it. No node but a parent: nothing to do. */
  remove(domain: number, path: string, transaction = 0): void {
    const absolute = this.resolve(domain, path);
    if (absolute === '/') throw new StoreError('EINVAL');
    const node = this.#find(absolute, transaction);
    if (!node) {
      if (!this.#find(parentOf(absolute), transaction)) throw new StoreError('ENOENT');
      return;
    }
    this.#check(domain, node, 'w');
    const parentPath = parentOf(absolute);
    const parent = this.#find(parentPath, transaction)!;
    const children = new Set(parent.children);
    children.delete(nameOf(absolute));
    this.#store(parentPath, { ...parent, children }, transaction);
    this.#removeTree(absolute, transaction);
    this.#changed({ path: absolute, removed: true }, transaction);
  }

  permissions(domain: number, path: string, transaction = 0): readonly Permission[] {
    return this.#get(domain, this.resolve(domain, path), 'r', transaction).permissions;
  }

  setPermissions(domain: number, path: string, permissions: readonly Permission[], transaction = 0): void {
    if (permissions.length === 0) throw new StoreError('EINVAL');
    if (domain !== 0 && permissions.length > QUOTA_PERMISSIONS) throw new StoreError('ENOSPC');
    const absolute = this.resolve(domain, path);
    const node = this.#find(absolute, transaction);
    if (!node) throw new StoreError('ENOENT');
    const owner = ownerOf(node);
    if (domain !== 0 && (owner !== domain || idOf(permissions[0]!) !== domain))
      throw new StoreError(owner === domain ? 'EPERM' : 'EACCES');
    this.#store(absolute, { ...node, permissions: [...permissions] }, transaction);
    this.#changed({ path: absolute, removed: false }, transaction);
  }

  /**
   * Sets a watch, of which the domain's listener hears; the caller fires it once itself, at once. @throws StoreError
   * EEXIST, E2BIG (quota)
   */
  watch(domain: number, path: string, token: string): void {
    const special = path.startsWith('@');
    const absolute = special ? path : this.resolve(domain, path);
    if (this.#state.watches.some(watch => watch.domain === domain && watch.path === absolute && watch.token === token))
      throw new StoreError('EEXIST');
    if (domain !== 0 && this.#state.watches.filter(watch => watch.domain === domain).length >= QUOTA_WATCHES)
      throw new StoreError('E2BIG');
    const prefix = special || path.startsWith('/') ? '' : `${homeOf(domain)}/`;
    this.#state.watches.push({ domain, path: absolute, token, prefix });
  }

  unwatch(domain: number, path: string, token: string): void {
    const absolute = path.startsWith('@') ? path : this.resolve(domain, path);
    const index = this.#state.watches.findIndex(
      watch => watch.domain === domain && watch.path === absolute && watch.token === token,
    );
    if (index < 0) throw new StoreError('ENOENT');
    this.#state.watches.splice(index, 1);
  }

  /** RESET_WATCHES: forgets all watches and transactions of a domain. */
  reset(domain: number): void {
    for (let index = this.#state.watches.length - 1; index >= 0; index--)
      if (this.#state.watches[index]!.domain === domain) this.#state.watches.splice(index, 1);
    for (const [id, transaction] of this.#state.transactions)
      if (transaction.domain === domain) this.#state.transactions.delete(id);
  }

  startTransaction(domain: number): number {
    const open = [...this.#state.transactions.values()].filter(transaction => transaction.domain === domain).length;
    if (domain !== 0 && open >= QUOTA_TRANSACTIONS) throw new StoreError('ENOSPC');
    while (this.#state.transactions.has(this.#state.nextTransaction)) this.#state.nextTransaction++;
    const id = this.#state.nextTransaction;
    this.#state.nextTransaction = id === 0x7fffffff ? 1 : id + 1;
    this.#state.transactions.set(id, { domain, written: new Map(), touched: new Map(), changes: [] });
    return id;
  }

  /** Ends a transaction. @throws StoreError ENOENT; EAGAIN when something it touched has changed since. */
  endTransaction(domain: number, id: number, commit: boolean): void {
    const transaction = this.#state.transactions.get(id);
    if (transaction?.domain !== domain) throw new StoreError('ENOENT');
    this.#state.transactions.delete(id);
    if (!commit) return;
    for (const [path, generation] of transaction.touched)
      if ((this.#state.nodes.get(path)?.generation ?? -1) !== generation) throw new StoreError('EAGAIN');
    if (domain !== 0) this.#checkNodeQuota(domain, transaction);
    for (const [path, node] of transaction.written) this.#put(path, node);
    for (const change of transaction.changes) this.#fire(change);
  }

  // The tree, seen through a transaction or not.

  #transaction(id: number): Transaction | undefined {
    if (id === 0) return undefined;
    const transaction = this.#state.transactions.get(id);
    if (!transaction) throw new StoreError('ENOENT');
    return transaction;
  }

  /** Checks that `id` is open and `domain`'s: what every request with a transaction id begins with. */
  checkTransaction(domain: number, id: number): void {
    if (id !== 0 && this.#state.transactions.get(id)?.domain !== domain) throw new StoreError('ENOENT');
  }

  #find(path: string, transactionId: number): Node | undefined {
    const transaction = this.#transaction(transactionId);
    if (!transaction) return this.#state.nodes.get(path);
    this.#touch(transaction, path);
    return transaction.written.has(path) ? transaction.written.get(path) : this.#state.nodes.get(path);
  }

  #touch(transaction: Transaction, path: string): void {
    if (transaction.touched.has(path)) return;
    if (transaction.domain !== 0 && transaction.touched.size >= QUOTA_TOUCHED) throw new StoreError('ENOSPC');
    transaction.touched.set(path, this.#state.nodes.get(path)?.generation ?? -1);
  }

  #get(domain: number, path: string, access: 'r' | 'w', transaction: number): Node {
    const node = this.#find(path, transaction);
    if (!node) {
      // What a domain may not see does not tell it whether something is there.
      const above = this.#nearest(path, transaction);
      throw new StoreError(allows(domain, above.permissions, 'r') ? 'ENOENT' : 'EACCES');
    }
    this.#check(domain, node, access);
    return node;
  }

  #nearest(path: string, transaction: number): Node {
    for (let above = parentOf(path); ; above = parentOf(above)) {
      const node = this.#find(above, transaction);
      if (node) return node;
    }
  }

  #check(domain: number, node: Node, access: 'r' | 'w'): void {
    if (!allows(domain, node.permissions, access)) throw new StoreError('EACCES');
  }

  /** Makes a node and the parents it lacks. New nodes inherit permissions; what a guest makes it owns. */
  #create(domain: number, path: string, value: Uint8Array, transaction: number): void {
    const missing = [path];
    let above = parentOf(path);
    while (!this.#find(above, transaction)) {
      missing.unshift(above);
      above = parentOf(above);
    }
    const ancestor = this.#find(above, transaction)!;
    this.#check(domain, ancestor, 'w');
    if (domain !== 0 && transaction === 0 && this.#ownedBy(domain) + missing.length > QUOTA_NODES)
      throw new StoreError('ENOSPC');
    const permissions: readonly Permission[] =
      domain === 0 ? ancestor.permissions : [`n${domain}`, ...ancestor.permissions.slice(1)];
    let parentPath = above;
    for (const each of missing) {
      const parent = this.#find(parentPath, transaction)!;
      this.#store(parentPath, { ...parent, children: new Set(parent.children).add(nameOf(each)) }, transaction);
      const node: Node = {
        value: each === path ? value : new Uint8Array(),
        children: new Set(),
        permissions,
        generation: 0,
      };
      this.#store(each, node, transaction);
      parentPath = each;
    }
  }

  #removeTree(path: string, transaction: number): void {
    const node = this.#find(path, transaction)!;
    for (const child of node.children) this.#removeTree(`${path}/${child}`, transaction);
    this.#store(path, undefined, transaction);
  }

  #store(path: string, node: Node | undefined, transactionId: number): void {
    const transaction = this.#transaction(transactionId);
    if (transaction) {
      this.#touch(transaction, path);
      transaction.written.set(path, node);
    } else this.#put(path, node);
  }

  /** Puts a node into the tree itself, and counts how many nodes each domain owns. */
  #put(path: string, node: Node | undefined): void {
    const old = this.#state.nodes.get(path);
    if (old) this.#state.owned.set(ownerOf(old), this.#ownedBy(ownerOf(old)) - 1);
    if (node) {
      this.#state.owned.set(ownerOf(node), this.#ownedBy(ownerOf(node)) + 1);
      this.#state.nodes.set(path, { ...node, generation: this.#state.generation++ });
    } else this.#state.nodes.delete(path);
  }

  #ownedBy(domain: number): number {
    return this.#state.owned.get(domain) ?? 0;
  }

  #checkNodeQuota(domain: number, transaction: Transaction): void {
    let owned = this.#ownedBy(domain);
    for (const [path, node] of transaction.written) {
      const old = this.#state.nodes.get(path);
      if (old && ownerOf(old) === domain) owned--;
      if (node && ownerOf(node) === domain) owned++;
    }
    if (owned > QUOTA_NODES) throw new StoreError('ENOSPC');
  }

  // Watches.

  #changed(change: Change, transaction: number): void {
    const open = this.#transaction(transaction);
    if (!open) this.#fire(change);
    // Each path fires once, however often a transaction writes it.
    else if (!open.changes.some(other => other.path === change.path && other.removed === change.removed))
      open.changes.push(change);
  }

  #fire(change: Change): void {
    for (const watch of [...this.#state.watches]) {
      if (!this.#state.watches.includes(watch)) continue;
      let path: string;
      if (change.path === watch.path || change.path.startsWith(`${watch.path === '/' ? '' : watch.path}/`))
        path = change.path;
      // A removed ancestor took the watched node with it: reported as the watched path.
      else if (change.removed && watch.path.startsWith(`${change.path}/`)) path = watch.path;
      else continue;
      if (watch.domain !== 0 && !this.#maySee(watch.domain, path)) continue;
      this.#listeners.get(watch.domain)?.(path.slice(watch.prefix.length), watch.token);
    }
  }

  /** A guest hears of a change only where it may read: the node, or what is left above it. */
  #maySee(domain: number, path: string): boolean {
    const node = this.#state.nodes.get(path) ?? this.#nearest(path, 0);
    return allows(domain, node.permissions, 'r');
  }
}

/** Where relative paths of a domain begin. */
export function homeOf(domain: number): string {
  return `/local/domain/${domain}`;
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash <= 0 ? '/' : path.slice(0, slash);
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function idOf(permission: Permission): number {
  return Number(permission.slice(1));
}

function ownerOf(node: Node): number {
  return idOf(node.permissions[0]!);
}

function allows(domain: number, permissions: readonly Permission[], access: 'r' | 'w'): boolean {
  const [first] = permissions;
  if (domain === 0 || idOf(first!) === domain) return true;
  const own = permissions.slice(1).find(permission => idOf(permission) === domain) ?? first!;
  return own[0] === 'b' || own[0] === access;
}
