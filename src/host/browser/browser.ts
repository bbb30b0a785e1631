/**
 * What is used of a browser here, in our own words: the DOM's types are the page's, and this is compiled without them. Each is asked
 * for when it is used, for not every browser, and not every thread of one, has it.
 */
import type { RemotePort } from '../../remote/port.ts';

/** A dedicated worker. */
export interface BrowserWorker extends RemotePort {
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void;
  addEventListener(type: 'error', listener: (event: { message?: string }) => void): void;
  terminate(): void;
}

/** A File or a Blob. */
export interface BrowserBlob {
  readonly size: number;
  readonly name?: string;
  slice(from: number, to: number): BrowserBlob;
}

/** A FileSystemSyncAccessHandle: a file of the origin's own (OPFS), open in a worker. */
export interface SyncAccessHandle {
  getSize(): number;
  read(into: Uint8Array, options: { at: number }): number;
  write(from: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

interface Request<T> {
  readonly result: T;
  readonly error: Error | null;
  onsuccess: (() => void) | null;
  onerror: (() => void) | null;
}

export interface Database {
  createObjectStore(name: string): void;
  transaction(store: string, mode: 'readonly' | 'readwrite'): { objectStore(name: string): ObjectStore };
}

export interface ObjectStore {
  get(key: string): Request<unknown>;
  getAllKeys(): Request<unknown[]>;
  put(value: unknown, key: string): Request<unknown>;
  delete(key: unknown): Request<unknown>;
}

interface Browser {
  FileReaderSync?: new () => { readAsArrayBuffer(blob: BrowserBlob): ArrayBuffer };
  indexedDB?: { open(name: string, version: number): Request<Database> & { onupgradeneeded: (() => void) | null } };
  DecompressionStream?: new (format: 'deflate') => Transform;
}

interface Transform {
  readonly writable: { getWriter(): { write(bytes: Uint8Array): Promise<void>; close(): Promise<void> } };
  readonly readable: { getReader(): { read(): Promise<{ done: boolean; value?: Uint8Array }> } };
}

export const browser = globalThis as unknown as Browser;

/** The answer to a request of IndexedDB. */
export function answered<T>(request: Request<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('IndexedDB has refused'));
  });
}
