/**
 * The default guest: Debian's kernel and busybox, fetched through apt and made into a kernel file and an initramfs that stay
 * in the cache:
 *
 *     packages/NAME_VERSION_ARCH.deb          what apt fetched
 *     guests/ARCH/FLAVOUR/packages.json       which of them the guest is made of, with their digests
 *     guests/ARCH/FLAVOUR/VERSIONS-RECIPE/    vmlinuz, initrd.cpio and guest.json, which has their digests
 *
 * RECIPE is a digest of how the initramfs is made: when that changes, the same packages give a new guest. The digests are checked
 * at every use (10 MB, 10 ms); what does not match is made anew from the packages, and these are fetched anew.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { readDeb } from '../../boot/guest/deb.ts';
import { buildInitramfs } from '../../boot/guest/initramfs.ts';
import { moduleName, selectModules, WANTED_MODULES } from '../../boot/guest/modules.ts';
import { ImageError } from '../../boot/image-error.ts';
import { createApt, INSTEAD } from './apt.ts';
import { cacheFolder, distrust, publish, withWorkFolder } from './cache.ts';
import { digestOf, type GuestRecord, isGuestRecord, isPackages, type Packages, readJson } from './guest-records.ts';

/** The kernels we know how to fetch, by architecture; the first is the default. The names are Debian's flavours. */
export const GUEST_KERNELS = {
  amd64: [
    { flavour: 'cloud-amd64', package: 'linux-image-cloud-amd64' },
    { flavour: 'amd64', package: 'linux-image-amd64' },
  ],
  i386: [
    { flavour: '686-pae', package: 'linux-image-686-pae' },
    { flavour: '686', package: 'linux-image-686' },
  ],
} as const satisfies Record<string, readonly { flavour: string; package: string }[]>;

/** The first flavour whose kernel can mount folders (9P): those for clouds cannot. */
export function flavourWithFolders(architecture: GuestArchitecture): string {
  return GUEST_KERNELS[architecture].find(({ flavour }) => !flavour.startsWith('cloud-'))!.flavour;
}

export type GuestArchitecture = keyof typeof GUEST_KERNELS;

/** What names a kernel of Debian's. */
export interface GuestKernel {
  architecture: GuestArchitecture;
  flavour: string;
}

/**
 * Packages of other versions, for those who compare: `linux-image-6.1.0-50-cloud-amd64`, `linux-image-6.12-amd64`; and those that
 * depend on the newest of a flavour: `linux-image-rt-amd64`.
 */
const KERNEL_PACKAGE = /^linux-image-(?:\d[\w.+~-]*?-|rt-)(?:(amd64)|(686(?:-pae)?))$/;

/** The kernel that `word` names: one of GUEST_KERNELS by its flavour, or any version's by its package's name. */
export function guestKernel(word: string): GuestKernel | undefined {
  for (const [architecture, kernels] of Object.entries(GUEST_KERNELS))
    if (kernels.some(({ flavour }) => flavour === word))
      return { architecture: architecture as GuestArchitecture, flavour: word };
  const match = KERNEL_PACKAGE.exec(word);
  return match ? { architecture: match[1] ? 'amd64' : 'i386', flavour: word } : undefined;
}

export interface Guest {
  architecture: GuestArchitecture;
  flavour: string;
  /** What `uname -r` prints in it. */
  release: string;
  /** Debian's version of the kernel package. */
  version: string;
  busyboxVersion: string;
  /** Names of the modules in the initramfs. */
  modules: string[];
  /** Paths of the files, and their sizes in bytes. */
  kernel: string;
  kernelSize: number;
  initrd: string;
  initrdSize: number;
  /** True when it was made before and nothing was fetched or built. */
  cached: boolean;
}

/** What is being done; `fraction` is how much of it, where that is known. */
export interface GuestProgress {
  step: 'lists' | 'kernel' | 'busybox' | 'packages' | 'build' | 'note';
  text: string;
  fraction?: number;
}

export interface GuestOptions {
  architecture?: GuestArchitecture;
  /** One of GUEST_KERNELS[architecture], or a kernel package's name; the first of the former when left out. */
  flavour?: string;
  /** Ask the archives whether there is a newer kernel, also when there is a guest already. */
  refresh?: boolean;
  progress?: (progress: GuestProgress) => void;
  /** The cache folder, when not the usual one. */
  cache?: string;
}

/** The guest in the cache, if there is one that is whole and made by today's recipe. Fetches and builds nothing. */
export function cachedGuest({ architecture, flavour, cache }: GuestOptions = {}): Guest | undefined {
  const { folder, cache: place } = locate(architecture, flavour, cache);
  return distrust(place) === undefined ? findGuest(folder) : undefined;
}

/** What tells the guest in the cache from others: a digest of its files as they were made. They themselves are not looked at. */
export function guestDigest({ architecture, flavour, cache }: GuestOptions = {}): string | undefined {
  const { folder, cache: place } = locate(architecture, flavour, cache);
  if (distrust(place) !== undefined) return undefined;
  const record = madeIn(folder)
    .map(path => readJson(join(path, RECORD), isGuestRecord))
    .find(record => record?.recipe === recipe());
  return record && `${record.digests.kernel}${record.digests.initrd}`;
}

/** The guest, from the cache or made anew. @throws ImageError with what is wrong and what to do. */
export async function ensureGuest(options: GuestOptions = {}): Promise<Guest> {
  const { refresh = false, progress = () => {} } = options;
  const { architecture, chosen, cache, folder } = locate(options.architecture, options.flavour, options.cache);
  const kind = { architecture, flavour: chosen.flavour };
  const note = (text: string) => progress({ step: 'note', text });
  const trusted = distrust(cache) === undefined;
  const present = trusted ? findGuest(folder, note) : undefined;
  if (present && !refresh) return present;

  return withWorkFolder(cache, async (work, onInterrupt) => {
    const known = readJson(join(folder, 'packages.json'), isPackages);
    const whole = known !== undefined && removeDamaged(cache, known, note);
    if (known && whole && !refresh) {
      const made = await orDamaged(build(cache, work, folder, kind, known, progress));
      if (!(made instanceof DamagedPackage)) return made;
      note(`${made.message}: it is fetched again`);
    }
    const fetchAndBuild = async () => {
      const packages = await fetchPackages(cache, work, onInterrupt, architecture, chosen.package, progress);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(work, 'packages.json'), JSON.stringify(packages, undefined, 2));
      publish(join(work, 'packages.json'), join(folder, 'packages.json'));
      return build(cache, work, folder, kind, packages, progress);
    };
    try {
      const made = await orDamaged(fetchAndBuild());
      if (!(made instanceof DamagedPackage)) return made;
      note(`${made.message}: it is fetched again`);
      return await fetchAndBuild();
    } catch (error) {
      if (!present || !(error instanceof ImageError)) throw error;
      note(`${error.message}. The guest in the cache stays in use.`);
      return present;
    }
  });
}

/** A package in the cache is not what was fetched. It has been removed. */
class DamagedPackage extends ImageError {}

async function orDamaged(work: Promise<Guest>): Promise<Guest | DamagedPackage> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof DamagedPackage) return error;
    throw error;
  }
}

function locate(architecture: GuestArchitecture = 'amd64', flavour?: string, cache = cacheFolder()) {
  const kernels: readonly { flavour: string; package: string }[] = GUEST_KERNELS[architecture];
  const named = flavour !== undefined && KERNEL_PACKAGE.test(flavour) && { flavour, package: flavour };
  const chosen = named || (flavour === undefined ? kernels[0] : kernels.find(kernel => kernel.flavour === flavour));
  if (!chosen) {
    const names = kernels.map(kernel => kernel.flavour).join(', ');
    throw new ImageError(`no ${architecture} kernel of Debian's is called ${flavour}; there is ${names}`);
  }
  return { architecture, chosen, cache, folder: join(cache, 'guests', architecture, chosen.flavour) };
}

/** Removes packages that are not what was fetched. @returns true if all are there and whole */
function removeDamaged(cache: string, { kernel, busybox }: Packages, note: (text: string) => void): boolean {
  let whole = true;
  for (const { file, digest } of [kernel, busybox]) {
    const path = join(cache, 'packages', file);
    const found = digestOf(path);
    if (found !== undefined && (digest === undefined || found === digest)) continue;
    whole = false;
    if (found !== undefined) note(`${file} in the cache is damaged: it is fetched again`);
    rmSync(path, { recursive: true, force: true });
  }
  return whole;
}

async function fetchPackages(
  cache: string,
  work: string,
  onInterrupt: (stop: () => void) => void,
  architecture: GuestArchitecture,
  metaPackage: string,
  progress: (progress: GuestProgress) => void,
): Promise<Packages> {
  const apt = createApt(join(work, 'apt'), architecture, onInterrupt);
  const report = (step: GuestProgress['step'], text: string) => {
    progress({ step, text });
    return (fraction: number) => progress({ step, text, fraction });
  };
  await apt.update(report('lists', "Asking apt for Debian's package lists"));
  const meta = await apt.show(metaPackage);
  // A package without the version in its name depends on the newest one that has it.
  const concrete =
    meta.depends.find(name => /^linux-image-\d/.test(name)) ?? (KERNEL_PACKAGE.test(metaPackage) ? metaPackage : '');
  if (concrete === '') throw new ImageError(`Debian's ${metaPackage} names no kernel; ${INSTEAD}`);

  const get = async (name: string, step: 'kernel' | 'busybox') => {
    const { version, size } = await apt.show(name);
    const file = `${name}_${version.replaceAll(':', '%3a')}_${architecture}.deb`;
    const path = join(cache, 'packages', file);
    if (!existsSync(path)) {
      const onProgress = report(step, `Downloading ${name} ${version} (${(size / 1e6).toFixed(1)} MB)`);
      publish(await apt.download(name, version, onProgress), path);
    }
    return { name, version, file, digest: digestOf(path)! };
  };
  return { kernel: await get(concrete, 'kernel'), busybox: await get('busybox-static', 'busybox') };
}

async function build(
  cache: string,
  work: string,
  folder: string,
  kind: { architecture: GuestArchitecture; flavour: string },
  packages: Packages,
  progress: (progress: GuestProgress) => void,
): Promise<Guest> {
  const { kernel, busybox } = packages;
  rmSync(join(work, 'guest'), { recursive: true, force: true });
  const target = join(folder, `${kernel.version}_${busybox.version}-${recipe()}`.replaceAll(/[^\w.+~-]/g, '_'));
  const existing = readGuest(target);
  if (existing) return existing;
  progress({ step: 'build', text: `Unpacking ${kernel.name} and building the initramfs` });

  /** A package that turns out to be damaged must not stay: the next run fetches it again. */
  const unpack = async (file: string, wanted: (path: string) => boolean) => {
    const path = join(cache, 'packages', file);
    try {
      return await readDeb(new Uint8Array(readFileSync(path)), wanted);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      rmSync(path, { force: true });
      throw new DamagedPackage(`${file} in the cache is damaged (${error.message})`);
    }
  };
  const [program] = await unpack(busybox.file, path => /^(usr\/)?bin\/busybox$/.test(path));
  if (!program) throw new ImageError(`Debian's ${busybox.name} holds no bin/busybox; ${INSTEAD}`);
  const MODULES = /^(?:usr\/)?lib\/modules\/([^/]+)\//;
  const files = await unpack(
    kernel.file,
    path => /^boot\/vmlinuz-/.test(path) || (MODULES.test(path) && !!moduleName(path)),
  );
  const image = files.find(file => file.path.startsWith('boot/vmlinuz-'));
  if (!image) throw new ImageError(`Debian's ${kernel.name} holds no boot/vmlinuz; ${INSTEAD}`);
  const release = image.path.slice('boot/vmlinuz-'.length);
  const modules = await selectModules(
    files
      .filter(file => MODULES.exec(file.path)?.[1] === release)
      .map(file => ({ path: file.path.replace(MODULES, ''), data: file.data })),
  );

  const made = join(work, 'guest');
  mkdirSync(made);
  writeFileSync(join(made, KERNEL), image.data);
  writeFileSync(join(made, INITRD), buildInitramfs({ release, busybox: program.data, modules }));
  const record: GuestRecord = {
    ...kind,
    release,
    version: kernel.version,
    busyboxVersion: busybox.version,
    modules: modules.map(({ name }) => name),
    recipe: recipe(),
    digests: { kernel: digestOf(join(made, KERNEL))!, initrd: digestOf(join(made, INITRD))! },
  };
  writeFileSync(join(made, RECORD), `${JSON.stringify(record, undefined, 2)}\n`);
  // What already stands there is not a whole guest, or it would have been found above.
  if (existsSync(target) && !readGuest(target)) renameSync(target, join(work, `broken-${process.pid}`));
  publish(made, target);
  prune(cache, folder, target);
  const guest = readGuest(target);
  if (!guest) throw new Error(`the guest in ${target} is not what was written there`);
  return { ...guest, cached: false };
}

/** True for a guest that another version of Polyvisor made, and used within a day: both may share a cache. */
function belongsToAnother(path: string): boolean {
  const file = join(path, RECORD);
  return readJson(file, isGuestRecord)?.recipe !== recipe() && Date.now() - statSync(file).mtimeMs < 24 * HOUR;
}

function noteUse(record: string): void {
  const now = new Date();
  try {
    utimesSync(record, now, now);
  } catch {
    // Somebody else's cache, or one that cannot be written to: it serves all the same.
  }
}

/** Removes the flavour's earlier guests, and packages that no guest is made of any more. */
function prune(cache: string, folder: string, current: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (path === current || !existsSync(join(path, RECORD)) || belongsToAnother(path)) continue;
    rmSync(path, { recursive: true, force: true });
  }
  const used = new Set<string>();
  for (const architecture of Object.keys(GUEST_KERNELS)) {
    const flavours = join(cache, 'guests', architecture);
    for (const flavour of existsSync(flavours) ? readdirSync(flavours) : []) {
      const packages = readJson(join(flavours, flavour, 'packages.json'), isPackages);
      if (packages) used.add(packages.kernel.file).add(packages.busybox.file);
    }
  }
  for (const name of readdirSync(join(cache, 'packages'))) {
    const path = join(cache, 'packages', name);
    // A young one may be somebody's who is about to build a guest of it.
    if (!used.has(name) && Date.now() - statSync(path).mtimeMs > HOUR) rmSync(path, { force: true });
  }
}

const HOUR = 3_600_000;

const KERNEL = 'vmlinuz';
const INITRD = 'initrd.cpio';
const RECORD = 'guest.json';

/** The newest whole guest of today's recipe below `folder`. `note` hears of those that are damaged. */
function findGuest(folder: string, note: (text: string) => void = () => {}): Guest | undefined {
  for (const path of madeIn(folder)) {
    const guest = readGuest(path, note);
    if (guest) return guest;
  }
  return undefined;
}

/** The guests below `folder`, whole or not: the newest first. */
function madeIn(folder: string): string[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) return [];
  const paths = readdirSync(folder).map(name => join(folder, name));
  const made = paths.filter(path => existsSync(join(path, RECORD)));
  return made.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
}

/** @returns undefined for what is not whole, or was made by another recipe or before there were digests */
function readGuest(path: string, note: (text: string) => void = () => {}): Guest | undefined {
  const record = readJson(join(path, RECORD), isGuestRecord);
  if (record?.recipe !== recipe()) return undefined;
  const [kernel, initrd] = [join(path, KERNEL), join(path, INITRD)];
  const { recipe: _, digests, ...rest } = record;
  for (const [file, digest] of [
    [kernel, digests.kernel],
    [initrd, digests.initrd],
  ] as const) {
    if (digestOf(file) === digest) continue;
    note(`${file} is not what was written there: the guest in the cache is made again`);
    return undefined;
  }
  noteUse(join(path, RECORD));
  return {
    ...rest,
    kernel,
    kernelSize: statSync(kernel).size,
    initrd,
    initrdSize: statSync(initrd).size,
    cached: true,
  };
}

/** Eight hexadecimal digits that change when what goes into the initramfs does: those of one with next to nothing in it. */
function recipe(): string {
  const busybox = new TextEncoder().encode('\0[\0[[\0sh\0');
  // Among them are those with lines of their own in /init.
  const modules = ['a', 'xenfs', 'evdev'].map(name => ({
    ...{ name, path: `${name}.ko`, data: new Uint8Array(0), depends: [], aliases: ['pci:*'] },
  }));
  const initramfs = buildInitramfs({ release: '0', busybox, modules });
  return createHash('sha256').update(initramfs).update(WANTED_MODULES.join('\0')).digest('hex').slice(0, 8);
}
