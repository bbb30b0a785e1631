/**
 * A root of Debian's packages as a tar archive: all of them unpacked, and dpkg's records of that. What is left to do, their
 * maintainer scripts, is for a guest (install-script.ts). Packages are unpacked as they are, one archive after another, into a
 * /usr that is merged (bin, lib and sbin lead into it), as Debian is since bookworm.
 */
import type { TarEntry } from 'modern-tar';
import { ImageError } from '../image-error.ts';
import { databaseEntries, describePackage, type PackageRecords, tarFile, tarFolder, tarLink } from './dpkg-database.ts';
import { CONFIGURE_SCRIPT, configureScript } from './install-script.ts';
import { type DebianPackage, dependencies, entriesOf, openDeb, tarEntries } from './package.ts';

export interface RootPackage {
  /** For messages. */
  file: string;
  read(): Uint8Array;
}

export interface RootWriter {
  /** The next piece of the root's archive. */
  root(piece: Uint8Array): void;
  /** The archive of the programs that make the root's file system, whole. */
  tools(archive: Uint8Array): void;
  /** MD5 in hexadecimal, by which dpkg knows configuration files. */
  md5(data: Uint8Array): string;
  /** So many packages are done. */
  progress(done: number): void;
}

/** Has mke2fs. */
const FILE_SYSTEM_PACKAGE = 'e2fsprogs';
/** Of these packages: the program, its settings, and libraries, but not those that convert texts. */
const TOOL = /^(?!.*\/gconv\/).*(?:\/mke2fs|\/mke2fs\.conf|\/[^/]*\.so(?:\.[\d.]+)?)$/;

/** Manuals, translations and documents but for licences are half of all files, and each costs a guest some work. */
export const LEFT_OUT =
  /^\.?\/?usr\/share\/(?:doc\/[^/]+\/(?!copyright$).|(?:man|info|lintian)\/.|locale\/(?!locale\.alias$).)/;
/** What the root's own dpkg does alike (dpkg(1), --path-exclude). */
const DPKG_SETTINGS = `path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
`;

/** The folders of a /usr that is merged. @param wide the architecture's 64-bit loader stands in /lib64 */
function mergedFolders(wide: boolean): TarEntry[] {
  const names = ['bin', 'sbin', 'lib', ...(wide ? ['lib64'] : [])];
  return [
    tarFolder('./usr'),
    ...names.map(name => tarFolder(`./usr/${name}`)),
    ...names.map(name => tarLink(`./${name}`, `usr/${name}`)),
  ];
}

/**
 * Writes the archives of `packages`, which are in the order in which they would be unpacked.
 * @throws ImageError for a damaged package, with its file's name, and where the one that makes file systems is not among them
 */
export async function writeRoot(
  packages: readonly RootPackage[],
  architecture: string,
  write: RootWriter,
): Promise<void> {
  const { packTar } = await import('modern-tar');
  const folders = mergedFolders(architecture === 'amd64');
  for (const piece of tarEntries(await packTar(folders), () => true)) write.root(piece);
  const records: PackageRecords[] = [];
  const names: string[] = [];
  const preinsts: string[] = [];
  const needed = new Map<string, { depends: string[]; tools: TarEntry[] }>();
  for (const [index, { file, read }] of packages.entries()) {
    try {
      const unpacked = await openDeb(read());
      for (const piece of tarEntries(unpacked.tar, name => !LEFT_OUT.test(name))) write.root(piece);
      records.push(await describePackage(unpacked, write.md5));
      const name = unpacked.fields.get('Package')!;
      names.push(name);
      if (unpacked.control.has('preinst')) preinsts.push(name);
      needed.set(name, { depends: dependencies(unpacked), tools: await toolsOf(unpacked) });
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      throw new DamagedRootPackage(file, error.message);
    }
    write.progress(index + 1);
  }
  const last = [
    tarFile('./etc/dpkg/dpkg.cfg.d/polyvisor', DPKG_SETTINGS),
    ...databaseEntries(records),
    tarFile(`.${CONFIGURE_SCRIPT}`, configureScript(names, preinsts, architecture), 0o755),
  ];
  write.root(await packTar(last));
  write.tools(await packTar([...folders, ...toolEntries(needed)]));
}

/** A package's file is not what was fetched. */
export class DamagedRootPackage extends ImageError {
  readonly file: string;

  constructor(file: string, reason: string) {
    super(`${file} in the cache is damaged (${reason})`);
    this.file = file;
  }
}

async function toolsOf({ tar }: DebianPackage): Promise<TarEntry[]> {
  const entries = await entriesOf(tar, name => TOOL.test(name));
  return entries.map(({ header, data }) => ({ header, body: data }));
}

/** The programs and libraries of the package that makes file systems, and of all that it needs. */
function toolEntries(packages: ReadonlyMap<string, { depends: string[]; tools: TarEntry[] }>): TarEntry[] {
  if (!packages.has(FILE_SYSTEM_PACKAGE))
    throw new ImageError(`the root has no ${FILE_SYSTEM_PACKAGE}, by which its file system is made`);
  const seen = new Set<string>();
  const entries: TarEntry[] = [];
  const visit = (name: string) => {
    const found = packages.get(name);
    if (!found || seen.has(name)) return;
    seen.add(name);
    for (const dependency of found.depends) visit(dependency);
    entries.push(...found.tools);
  };
  visit(FILE_SYSTEM_PACKAGE);
  return entries;
}
