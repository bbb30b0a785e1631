/** Optional peer dependencies: loaded where they are needed, since nobody who runs one machine has them. */
import { status } from '../exit-status.ts';
import { Failure } from '../failure.ts';

/**
 * @param option what needs the package
 * @param major the version to install, as package.json has it
 * @throws Failure where it is not installed
 */
export async function loadPeer(option: string, name: string, major: number): Promise<unknown> {
  try {
    // Not a constant, so that neither compiler nor bundler looks for it.
    return await import(name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    // In a clone of ours, npm installs an optional peer only with this option.
    const command = `npm install --save-prod ${name}@${major}`;
    throw new Failure(`${option}: needs the package ${name}, which is not installed: ${command}`, status.unavailable);
  }
}
