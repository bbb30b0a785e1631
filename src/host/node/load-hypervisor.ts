/**
 * A hypervisor from a file: a module (.js, .mjs, .ts) whose default export is a HypervisorModule, or a WebAssembly binary
 * (plugins/binary.ts). A module runs with all the rights of this process; a binary sees its guest and nothing else.
 */
import { readFileSync } from 'node:fs';
import { createRequire, register } from 'node:module';
import { extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as library from '../../index.ts';
import type { HypervisorModule } from '../../paravirt/operations.ts';
import { binaryHypervisor } from '../../plugins/binary.ts';
import { Guard, guarded, LOADING, PluginError, reasonOf, type Watch } from '../../plugins/guard.ts';
import { LIBRARY, type PluginHooks } from './plugin-hooks.ts';

/** How long a module may take to be evaluated, in milliseconds. */
const PATIENCE = 10_000;
const TURN = 250;
const MODULES = ['.js', '.mjs', '.ts', '.mts'];

/** @param watch hears which of its ops is being answered. @throws PluginError; the host's error for a file that cannot be read */
export async function loadHypervisor(file: string, watch?: Watch): Promise<HypervisorModule> {
  const guard = new Guard(file, watch);
  const bytes = readFileSync(file);
  const kind = extname(file).toLowerCase();
  if (kind === '.wasm') return binaryHypervisor(bytes, guard);
  if (MODULES.includes(kind)) return moduleFrom(file, guard, watch);
  throw new PluginError(
    file,
    `a hypervisor is a name (see "polyvisor list") or a file: ${MODULES.join(', ')} or .wasm`,
  );
}

async function moduleFrom(file: string, guard: Guard, watch: Watch | undefined): Promise<HypervisorModule> {
  const typescript = typescriptLoader(file);
  registerHooks(typescript);
  watch?.enter(LOADING);
  const exports = await inTime(import(pathToFileURL(resolve(file)).href)).catch((error: unknown) => {
    throw new PluginError(file, `cannot be loaded: ${explain(error)}`);
  });
  watch?.leave();
  const module: unknown = (exports as { default?: unknown }).default;
  if (typeof module !== 'object' || module === null)
    throw new PluginError(file, 'its default export is no hypervisor: an object with name, title and make is wanted');
  const { name, title, make } = module as Partial<HypervisorModule>;
  if (typeof name !== 'string' || typeof title !== 'string' || typeof make !== 'function')
    throw new PluginError(file, 'its default export is no hypervisor: name and title are texts, make is a function');
  return guarded(module as HypervisorModule, guard);
}

/** Turns are counted, not time: a process that was stopped for a minute has had one. */
function inTime<T>(work: Promise<T>): Promise<T> {
  return new Promise((done, fail) => {
    let turns = 0;
    const timer = setInterval(() => {
      if (++turns * TURN > PATIENCE) fail(new Error(`is not done after ${PATIENCE / 1000} seconds`));
    }, TURN);
    work.then(done, fail).finally(() => clearInterval(timer));
  });
}

/** A syntax error's place stands in the first line of its stack alone. */
function explain(error: unknown): string {
  if (!(error instanceof SyntaxError)) return reasonOf(error);
  const line = /:(\d+)\n/.exec(error.stack ?? '')?.[1];
  return `syntax error${line ? ` in line ${line}` : ''}: ${reasonOf(error)}`;
}

/** Where something stands that turns TypeScript into JavaScript; undefined where Node.js does it itself. @throws PluginError */
function typescriptLoader(file: string): string | undefined {
  if (!/\.m?ts$/i.test(file) || (process.features as { typescript?: unknown }).typescript) return undefined;
  try {
    return pathToFileURL(createRequire(import.meta.url).resolve('esbuild')).href;
  } catch {
    throw new PluginError(
      file,
      `Node.js ${process.versions.node} cannot load TypeScript: use 22.18 or newer, or make a .js of it (npx tsc, npx esbuild)`,
    );
  }
}

let registered = false;

/** Makes `import … from 'polyvisor'` mean the very library that runs, wherever the file stands. */
function registerHooks(typescript: string | undefined): void {
  if (registered) return;
  registered = true;
  (globalThis as Record<symbol, unknown>)[Symbol.for(LIBRARY)] = library;
  const data: PluginHooks = { exports: Object.keys(library), typescript };
  register(new URL('./plugin-hooks.js', import.meta.url), { data });
}
