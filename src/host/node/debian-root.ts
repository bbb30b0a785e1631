/**
 * A root of Debian's packages, fetched through apt and made into a disk image that stays in the cache:
 *
 *     debian/ARCH/packages/NAME_VERSION_ARCH.deb    what apt fetched
 *     debian/ARCH/PACKAGES/packages.json            which of them the root is made of, with their digests
 *     debian/ARCH/PACKAGES/DIGEST-RECIPE/           root.img (ext4) and root.json, which has its digest
 *
 * PACKAGES is what was asked for besides what every root has, DIGEST one of all packages with their versions, RECIPE one of how
 * roots are made. An image is checked against its digest unless it has not been touched since that was done last: its size, its
 * number and its times are noted. Whoever uses it puts a layer above it.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { configureScript, INSTALL_SCRIPT } from '../../boot/debian/install-script.ts';
import { DamagedRootPackage, LEFT_OUT, writeRoot } from '../../boot/debian/root-archive.ts';
import { ImageError } from '../../boot/image-error.ts';
import { createApt } from './apt.ts';
import { cacheFolder, distrust, publish, withWorkFolder } from './cache.ts';
import type { GuestArchitecture, GuestProgress } from './guest.ts';
import { digestOf, isPackageRecord, type PackageRecord, readJson } from './guest-records.ts';

/** What every root has: what dpkg needs, an init, and what one looks around with. The first is apt's pattern. */
const EVERY_ROOT = [
  ...['?essential', 'usr-is-merged', 'apt', 'systemd-sysv', 'udev', 'dbus', 'e2fsprogs', 'kmod'],
  ...['iproute2', 'netbase', 'procps', 'login', 'passwd', 'mount'],
];
const ROOM = 1 << 30;
/** Disks have a size that is a multiple of this. */
const GRAIN = 1 << 20;

export interface DebianRoot {
  architecture: GuestArchitecture;
  /** What was asked for besides what every root has. */
  packages: string[];
  /** All of them, `NAME VERSION`. */
  installed: string[];
  /** The disk image: its path, its size, and what it takes of the host's disk, in bytes. */
  image: string;
  size: number;
  used: number;
  /** True when it was made before. */
  cached: boolean;
}

/** What a guest makes a root of. */
export interface RootMaterial {
  /** Paths: the disk that becomes the root, empty; the archives of root-archive.ts. */
  image: string;
  archive: string;
  tools: string;
  /** How many packages there are to configure. */
  count: number;
}

export interface DebianRootOptions {
  architecture?: GuestArchitecture;
  packages?: readonly string[];
  /** Ask the archives for newer packages, also when there is a root already. */
  refresh?: boolean;
  progress?: (progress: GuestProgress) => void;
  cache?: string;
  /** How much larger than its packages' files the disk is, in bytes: room to work in, which takes none on the host. 1 GiB by default. */
  room?: number;
}

/** Runs INSTALL_SCRIPT in a guest with these disks. @throws ImageError if it fails. @param onInterrupt is given what stops it */
export type InstallRoot = (
  material: RootMaterial,
  architecture: GuestArchitecture,
  progress: (progress: GuestProgress) => void,
  onInterrupt: (stop: () => void) => void,
) => Promise<void>;

/** The root in the cache, if there is one that is whole and made by today's recipe. */
export function cachedDebianRoot(options: DebianRootOptions = {}): DebianRoot | undefined {
  const { cache, folder } = locate(options);
  return distrust(cache) === undefined ? findRoot(folder) : undefined;
}

/** The root, from the cache or made anew. @throws ImageError with what is wrong and what to do */
export async function ensureDebianRoot(options: DebianRootOptions, install: InstallRoot): Promise<DebianRoot> {
  const { refresh = false, progress = () => {}, room = ROOM } = options;
  const { architecture, packages, cache, folder } = locate(options);
  const note = (text: string) => progress({ step: 'note', text });
  const present = distrust(cache) === undefined ? findRoot(folder, note) : undefined;
  if (present && !refresh) return present;
  return withWorkFolder(cache, async (work, onInterrupt) => {
    const place: Place = { cache, work, folder, architecture, packages, progress, onInterrupt, room };
    try {
      // What has been fetched before may be enough.
      const known = refresh ? undefined : readJson(join(folder, RECORD_OF_PACKAGES), isRootPackages);
      const whole = known && removeDamaged(place, known, note);
      const list = known && whole ? known : await fetchAll(place);
      try {
        return await build(place, list, install);
      } catch (error) {
        if (!(error instanceof DamagedRootPackage)) throw error;
        note(`${error.message}: it is fetched again`);
        rmSync(join(packageFolder(place), error.file), { force: true });
        return await build(place, await fetchAll(place), install);
      }
    } catch (error) {
      if (!present || !(error instanceof ImageError)) throw error;
      note(`${error.message}. The root in the cache stays in use.`);
      return present;
    }
  });
}

interface Place {
  cache: string;
  work: string;
  folder: string;
  architecture: GuestArchitecture;
  packages: readonly string[];
  progress: (progress: GuestProgress) => void;
  onInterrupt: (stop: () => void) => void;
  room: number;
}

const RECORD_OF_PACKAGES = 'packages.json';
const IMAGE = 'root.img';
const RECORD = 'root.json';
/** Debian Policy 5.6.1. */
const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]+$/;
const LONGEST_NAME = 100;

function locate({ architecture = 'amd64', packages = [], cache = cacheFolder() }: DebianRootOptions) {
  const stranger = packages.find(name => !PACKAGE_NAME.test(name));
  if (stranger !== undefined) throw new ImageError(`"${stranger}" is no name of a Debian package`);
  const sorted = [...new Set(packages)].sort();
  const joined = sorted.length === 0 ? 'base' : sorted.join('_');
  const name = joined.length > LONGEST_NAME ? sha256(joined).slice(0, 16) : joined;
  return { architecture, packages: sorted, cache, folder: join(cache, 'debian', architecture, name) };
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const packageFolder = ({ cache, architecture }: Pick<Place, 'cache' | 'architecture'>) =>
  join(cache, 'debian', architecture, 'packages');

const isRootPackages = (value: unknown): value is PackageRecord[] =>
  Array.isArray(value) && value.length > 0 && value.every(isPackageRecord);

/** Removes packages that are not what was fetched. @returns true if all are there and whole */
function removeDamaged(place: Place, records: readonly PackageRecord[], note: (text: string) => void): boolean {
  let whole = true;
  for (const { file, digest } of records) {
    const path = join(packageFolder(place), file);
    const found = digestOf(path);
    if (found !== undefined && found === digest) continue;
    whole = false;
    if (found !== undefined) note(`${file} in the cache is damaged: it is fetched again`);
    rmSync(path, { recursive: true, force: true });
  }
  return whole;
}

async function fetchAll(place: Place): Promise<PackageRecord[]> {
  const { work, folder, architecture, packages, progress, onInterrupt } = place;
  const report = (step: GuestProgress['step'], text: string) => {
    progress({ step, text });
    return (fraction: number) => progress({ step, text, fraction });
  };
  rmSync(join(work, 'apt'), { recursive: true, force: true });
  const apt = createApt(join(work, 'apt'), architecture, onInterrupt);
  await apt.update(report('lists', "Asking apt for Debian's package lists"));
  const wanted = [...EVERY_ROOT, ...packages];
  const planned = await apt.plan(wanted);
  const store = packageFolder(place);
  mkdirSync(store, { recursive: true, mode: 0o700 });
  const paths = planned.map(({ file }): [string, string] => [file, join(store, file)]);
  const present = new Map(paths.filter(([, path]) => existsSync(path)));
  const fetched = await apt.fetch(wanted, present, report('packages', `Downloading ${planned.length} packages`));
  const records = planned.map(({ name, version, file }): PackageRecord => {
    const path = fetched.get(file);
    if (path === undefined) throw new ImageError(`apt has not downloaded ${file}; try again`);
    const digest = digestOf(path)!;
    if (digestOf(join(store, file)) !== digest) {
      rmSync(join(store, file), { force: true });
      publish(path, join(store, file));
    }
    return { name, version, file, digest };
  });
  rmSync(join(work, 'apt'), { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(join(work, RECORD_OF_PACKAGES), JSON.stringify(records, undefined, 2));
  rmSync(join(folder, RECORD_OF_PACKAGES), { force: true });
  publish(join(work, RECORD_OF_PACKAGES), join(folder, RECORD_OF_PACKAGES));
  return records;
}

async function build(place: Place, list: readonly PackageRecord[], install: InstallRoot): Promise<DebianRoot> {
  const { work, folder, architecture, packages, progress, onInterrupt } = place;
  const installed = list.map(({ name, version }) => `${name} ${version}`);
  const target = join(folder, `${sha256(installed.join('\n')).slice(0, 12)}-${recipe()}`);
  const existing = readRoot(target);
  if (existing) return existing;
  const made = join(work, 'root');
  rmSync(made, { recursive: true, force: true });
  mkdirSync(made);
  const material = await writeMaterial(place, list, join(made, IMAGE));
  await install(material, architecture, progress, onInterrupt);
  progress({ step: 'build', text: 'Checking the image' });
  const digest = digestOfImage(material.image);
  const { size } = statSync(material.image);
  const record: RootRecord = { architecture, packages: [...packages], installed, recipe: recipe(), digest, size };
  writeFileSync(join(made, RECORD), `${JSON.stringify(record, undefined, 2)}\n`);
  if (existsSync(target)) renameSync(target, join(work, `broken-${process.pid}`));
  publish(made, target);
  prune(place, target);
  const root = readRoot(target);
  if (!root) throw new Error(`the root in ${target} is not what was written there`);
  return { ...root, cached: false };
}

/** The disk, still empty, and the archives that a guest fills it from. */
async function writeMaterial(place: Place, list: readonly PackageRecord[], image: string): Promise<RootMaterial> {
  const { work, architecture, progress, room } = place;
  const [archive, tools] = [join(work, 'root.tar'), join(work, 'tools.tar')];
  const text = `Unpacking ${list.length} packages`;
  progress({ step: 'build', text });
  const descriptor = openSync(archive, 'w');
  let length = 0;
  try {
    await writeRoot(
      list.map(({ file }) => ({ file, read: () => new Uint8Array(readFileSync(join(packageFolder(place), file))) })),
      architecture,
      {
        root(piece) {
          for (let done = 0; done < piece.length; ) done += writeSync(descriptor, piece, done);
          length += piece.length;
        },
        tools: whole => writeFileSync(tools, whole),
        md5: data => createHash('md5').update(data).digest('hex'),
        progress: done => progress({ step: 'build', text, fraction: done / list.length }),
      },
    );
  } finally {
    closeSync(descriptor);
  }
  const size = Math.ceil((length * 1.25 + room) / GRAIN) * GRAIN;
  const disk = openSync(image, 'w', 0o600);
  ftruncateSync(disk, size);
  fsyncSync(disk);
  closeSync(disk);
  return { image, archive, tools, count: list.length };
}

/** root.json. */
interface RootRecord {
  architecture: GuestArchitecture;
  packages: string[];
  installed: string[];
  recipe: string;
  /** SHA-256 of the image, in hexadecimal. */
  digest: string;
  size: number;
}

const areTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every(item => typeof item === 'string');

function isRootRecord(value: unknown): value is RootRecord {
  const record = value as RootRecord | null;
  return (
    typeof record === 'object' &&
    record !== null &&
    ['amd64', 'i386'].includes(record.architecture) &&
    areTexts(record.packages) &&
    areTexts(record.installed) &&
    [record.recipe, record.digest].every(text => typeof text === 'string') &&
    Number.isSafeInteger(record.size)
  );
}

function findRoot(folder: string, note: (text: string) => void = () => {}): DebianRoot | undefined {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) return undefined;
  const paths = readdirSync(folder)
    .map(name => join(folder, name))
    .filter(path => existsSync(join(path, RECORD)))
    .sort((a, b) => statSync(join(b, RECORD)).mtimeMs - statSync(join(a, RECORD)).mtimeMs);
  for (const path of paths) {
    const root = readRoot(path, note);
    if (root) return root;
  }
  return undefined;
}

/** @returns undefined for what is not whole, or was made by another recipe */
function readRoot(path: string, note: (text: string) => void = () => {}): DebianRoot | undefined {
  const record = readJson(join(path, RECORD), isRootRecord);
  if (record?.recipe !== recipe()) return undefined;
  const image = join(path, IMAGE);
  if (!isWhole(image, record)) {
    note(`${image} is not what was written there: the root in the cache is made again`);
    return undefined;
  }
  const { architecture, packages, installed, size } = record;
  return { architecture, packages, installed, image, size, used: statSync(image).blocks * 512, cached: true };
}

/** The image has the record's digest, or is as it was when that was last found. */
function isWhole(image: string, { digest, size }: RootRecord): boolean {
  const found = statSync(image, { throwIfNoEntry: false });
  if (!found?.isFile() || found.size !== size) return false;
  const noted = `${image}.checked`;
  const mark = () => {
    const { ino, size, mtimeMs, ctimeMs } = statSync(image);
    return JSON.stringify({ digest, ino, size, mtimeMs, ctimeMs });
  };
  try {
    if (readFileSync(noted, 'utf8') === mark()) return true;
  } catch {
    // Not checked yet.
  }
  if (digestOfImage(image) !== digest) return false;
  try {
    writeFileSync(noted, mark());
  } catch {
    // A cache that cannot be written to: it is checked each time.
  }
  return true;
}

const PIECE = 1 << 20;

/** SHA-256, in hexadecimal: files of any size. */
function digestOfImage(path: string): string {
  const hash = createHash('sha256');
  const piece = new Uint8Array(PIECE);
  const descriptor = openSync(path, 'r');
  try {
    for (let count = -1; count !== 0; ) {
      count = readSync(descriptor, piece);
      hash.update(piece.subarray(0, count));
    }
  } finally {
    closeSync(descriptor);
  }
  return hash.digest('hex');
}

/** Removes the earlier roots of these packages, and packages of which no root is made any more. */
function prune(place: Place, current: string): void {
  const { folder, cache, architecture } = place;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (path !== current && existsSync(join(path, RECORD))) rmSync(path, { recursive: true, force: true });
  }
  const used = new Set<string>();
  const all = join(cache, 'debian', architecture);
  for (const name of readdirSync(all))
    for (const { file } of readJson(join(all, name, RECORD_OF_PACKAGES), isRootPackages) ?? []) used.add(file);
  for (const name of readdirSync(packageFolder(place))) {
    const path = join(packageFolder(place), name);
    // A young one may be somebody's who is about to make a root of it.
    if (!used.has(name) && Date.now() - statSync(path).mtimeMs > HOUR) rmSync(path, { force: true });
  }
}

const HOUR = 3_600_000;

/** Eight hexadecimal digits that change when what is done to make a root does. */
function recipe(): string {
  const scripts = [
    INSTALL_SCRIPT,
    configureScript(['base-passwd', 'systemd'], ['base-passwd'], 'amd64'),
    LEFT_OUT.source,
  ];
  return sha256([...scripts, ...EVERY_ROOT].join('\n')).slice(0, 8);
}
