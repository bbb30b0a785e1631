/** Which of Debian's kernel packages lie between two, by what apt knows here. */
import { join } from 'node:path';
import { ImageError } from '../../boot/image-error.ts';
import { type AptPackage, createApt } from './apt.ts';
import { cacheFolder, withWorkFolder } from './cache.ts';
import { compareVersions } from './debian-version.ts';
import { type GuestProgress, guestKernel } from './guest.ts';

/** What stands before a flavour in a package's name: `linux-image-6.1.0-50-`; there are those without a signature, too. */
const NAME = /^linux-image-(\d[\w.+~]*(?:-\d+)?)-([a-z0-9-]*?(?:amd64|686(?:-pae)?))$/;

/**
 * The packages from `first` to `last`, both included, of their flavour, in the order of their versions.
 * @throws ImageError where one is no such package, apt does not have it, or they are no range
 */
export async function kernelPackages(
  first: string,
  last: string,
  progress: (progress: GuestProgress) => void,
  cache = cacheFolder(),
): Promise<string[]> {
  const [kernel, flavour] = [guestKernel(first), NAME.exec(first)?.[2]];
  if (!kernel || flavour === undefined)
    throw new ImageError(`${first} is no package of a kernel, such as linux-image-6.1.0-50-cloud-amd64`);
  if (NAME.exec(last)?.[2] !== flavour)
    throw new ImageError(`${last} is no kernel of the flavour ${flavour}, as ${first} is`);
  return withWorkFolder(cache, async (work, onInterrupt) => {
    const apt = createApt(join(work, 'apt'), kernel.architecture, onInterrupt);
    progress({ step: 'lists', text: "Asking apt for Debian's package lists" });
    await apt.update();
    const names = (await apt.names('linux-image-')).filter(name => NAME.exec(name)?.[2] === flavour);
    const packages: AptPackage[] = [];
    for (const name of new Set([...names, first, last])) packages.push(await apt.show(name));
    packages.sort((a, b) => compareVersions(a.version, b.version) || (a.name < b.name ? -1 : 1));
    const [from, to] = [first, last].map(name => packages.findIndex(found => found.name === name)) as [number, number];
    if (from >= to) throw new ImageError(`${first} is not older than ${last}`);
    return packages.slice(from, to + 1).map(({ name }) => name);
  });
}
