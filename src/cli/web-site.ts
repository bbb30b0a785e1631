/** The page as a set of files: what is built of `web/`, and the kernels that it is served with. */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, sep } from 'node:path';
import { packageFile } from '../host/node/package-files.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';

/** A file on the disk, or made here. */
export type SiteFile = { path: string } | { text: string };

export interface Site {
  /** By path below the page, without a slash before it. */
  files: ReadonlyMap<string, SiteFile>;
  /** Headers of the files whose path begins with `prefix`. */
  headers: readonly { prefix: string; name: string; value: string }[];
}

export interface SiteKernel {
  name: string;
  kernel: string;
  initrd: string | undefined;
}

const root = dirname(packageFile);

/** Builds the page where its sources are: in a clone. An installed package has it already. @returns its folder */
function page(): string {
  const folder = join(root, 'dist/web');
  if (existsSync(join(root, 'web/main.ts'))) {
    const require = createRequire(packageFile);
    const { bundleWeb } = require('./bin/bundle-web.cjs') as { bundleWeb(root: string): string };
    return bundleWeb(root);
  }
  if (!existsSync(join(folder, 'index.html')))
    throw new Failure('the package has no page: it was installed without dist/web', status.unavailable);
  return folder;
}

/** @throws Failure for a kernel that cannot be read, or a page that is not there */
export function createSite(kernels: readonly SiteKernel[]): Site {
  const folder = page();
  const files = new Map<string, SiteFile>();
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const path = join(folder, name);
    if (statSync(path).isFile()) files.set(name.replaceAll(sep, '/'), { path });
  }
  const served = kernels.map(({ name, kernel, initrd }, index) => {
    const add = (path: string, kind: string) => {
      withFile(path, status.noInput, () => closeSync(openSync(path, 'r')));
      const address = `kernels/${index}-${kind}-${basename(path).replaceAll(/[^\w.-]/g, '_')}`;
      files.set(address, { path });
      return address;
    };
    return { id: name, name, kernel: add(kernel, 'kernel'), ...(initrd && { initrd: add(initrd, 'initrd') }) };
  });
  files.set('kernels.json', { text: `${JSON.stringify(served, undefined, 2)}\n` });
  return { files, headers: parseHeaders(readFileSync(join(folder, '_headers'), 'utf8')) };
}

/** A pattern of paths on a line of its own, and below it headers, each after two spaces. */
function parseHeaders(text: string): Site['headers'] {
  let prefix = '';
  return text.split('\n').flatMap(line => {
    const header = /^ +([\w-]+): (.*)$/.exec(line);
    if (!header) {
      prefix = line.replace(/^\//, '').replace(/\*$/, '');
      return [];
    }
    return [{ prefix, name: header[1]!, value: header[2]! }];
  });
}
