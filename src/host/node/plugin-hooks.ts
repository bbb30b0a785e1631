/** How a hypervisor's module is found and read: Node.js' customization hooks, which run in a thread of their own (node:module). */
import { readFile } from 'node:fs/promises';
import type { LoadHook, ResolveHook } from 'node:module';

/** The address of what the word `polyvisor` means, and the global symbol where it is found. */
export const LIBRARY = 'polyvisor:library';

export interface PluginHooks {
  /** The names that the library exports. */
  exports: readonly string[];
  /** The URL of esbuild, where Node.js cannot read TypeScript itself. */
  typescript: string | undefined;
}

let hooks: PluginHooks;

export function initialize(data: PluginHooks): void {
  hooks = data;
}

export const resolve: ResolveHook = (specifier, context, next) =>
  specifier === 'polyvisor' ? { url: LIBRARY, shortCircuit: true } : next(specifier, context);

export const load: LoadHook = async (url, context, next) => {
  if (url === LIBRARY) {
    const names = hooks.exports.map(name => `export const ${name} = library.${name};`);
    const source = [`const library = globalThis[Symbol.for('${LIBRARY}')];`, ...names].join('\n');
    return { format: 'module', source, shortCircuit: true };
  }
  if (hooks.typescript === undefined || !/\.m?ts$/.test(new URL(url).pathname)) return next(url, context);
  const { transform } = (await import(hooks.typescript)) as typeof import('esbuild');
  const source = await readFile(new URL(url), 'utf8');
  const { code } = await transform(source, { loader: 'ts', format: 'esm', logLevel: 'silent' });
  return { format: 'module', source: code, shortCircuit: true };
};
