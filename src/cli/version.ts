/** The package's own version. */
import { readFileSync } from 'node:fs';
import { packageFile } from '../host/node/package-files.ts';

export function packageVersion(): string {
  return (JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }).version;
}
