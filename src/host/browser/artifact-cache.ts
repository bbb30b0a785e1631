/**
 * What the engine keeps from one start to the next, in the origin's IndexedDB. A machine asks for it at once and cannot wait, so it
 * is all read when the cache is opened.
 */
import type { ArtifactCache } from '../artifact-cache.ts';
import { answered, browser, type Database } from './browser.ts';

const DATABASE = 'polyvisor';
const STORE = 'artifacts';
/** Files of one version of the code that are kept. Those of a kernel have some megabytes. */
const MOST_FILES = 12;

/**
 * @param version tells this version of the code from any other, e.g. a hash in the script's name: what another one has kept is thrown away
 * @returns undefined where the browser keeps nothing
 */
export async function openBrowserCache(version: string): Promise<ArtifactCache | undefined> {
  try {
    const database = await open();
    const kept = await load(database, `${version}/`);
    return {
      load: name => kept.get(name),
      save(name, data) {
        // A copy: what is given may be a part of a large memory.
        kept.set(name, data.slice());
        const { objectStore } = transactionOf(database);
        // Where there is no room, it is made again next time.
        answered(objectStore.put(data.slice(), `${version}/${name}`)).catch(() => {});
      },
    };
  } catch {
    return undefined; // A private window, or a page without an origin.
  }
}

function transactionOf(database: Database) {
  return { objectStore: database.transaction(STORE, 'readwrite').objectStore(STORE) };
}

async function open(): Promise<Database> {
  if (!browser.indexedDB) throw new Error('no IndexedDB here');
  const request = browser.indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return answered(request);
}

/** What has been kept under `prefix`. Everything else is thrown away. */
async function load(database: Database, prefix: string): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const { objectStore } = transactionOf(database);
  const keys = (await answered(objectStore.getAllKeys())).filter(key => typeof key === 'string');
  const ours = keys.filter(key => key.startsWith(prefix)).slice(0, MOST_FILES);
  const values = ours.map(async key => [key.slice(prefix.length), await answered(objectStore.get(key))] as const);
  for (const key of keys) if (!ours.includes(key)) objectStore.delete(key);
  const kept = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const [name, value] of await Promise.all(values))
    if (value instanceof Uint8Array) kept.set(name, value as Uint8Array<ArrayBuffer>);
  return kept;
}
