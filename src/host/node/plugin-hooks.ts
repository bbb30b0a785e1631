/** How a hypervisor's module is found and read: Node.js' customization hooks, which run in a thread of their own (node:module). */
import { readFile } from 'node:fs/promises';
import type { LoadHook, ResolveHook } from 'node:module';

export interface PluginHooks {
  /** What the word `polyvisor` means. */
  index: string;
  /** The URL of esbuild, where Node.js cannot read TypeScript itself. */
  typescript: string | undefined;
}

let hooks: PluginHooks;

export function initialize(data: PluginHooks): void {
  hooks = data;
}

export const resolve: ResolveHook = (specifier, context, next) =>
  specifier === 'polyvisor' ? { url: hooks.index, shortCircuit: true } : next(specifier, context);

export const load: LoadHook = async (url, context, next) => {
  if (hooks.typescript === undefined || !/\.m?ts$/.test(new URL(url).pathname)) return next(url, context);
  const { transform } = (await import(hooks.typescript)) as typeof import('esbuild');
  const source = await readFile(new URL(url), 'utf8');
  const { code } = await transform(source, { loader: 'ts', format: 'esm', logLevel: 'silent' });
  return { format: 'module', source: code, shortCircuit: true };
};
