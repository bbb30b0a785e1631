/**
 * Debian packages through this machine's apt, without touching its state: lists, cache and downloads live in a folder of
 * ours, so neither root nor an earlier `apt-get update` is needed, and any architecture can be asked for. What apt's own
 * configuration says about archives, keys and proxies holds.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, statfsSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import type { Readable } from 'node:stream';
import { ImageError } from '../../boot/image-error.ts';

/** What else to do when Debian's guest cannot be had: the end of a sentence. */
export const INSTEAD = 'or name a kernel and an initrd of your own: --kernel FILE --initrd FILE';

export interface AptPackage {
  name: string;
  version: string;
  /** Bytes of the package file. */
  size: number;
  /** Names of what it depends on, without versions. */
  depends: string[];
}

export interface Apt {
  /** Fetches the archives' lists. `onProgress` hears a fraction. */
  update(onProgress?: (fraction: number) => void): Promise<void>;
  /** The version that apt would install. @throws ImageError when the archives have none. */
  show(name: string): Promise<AptPackage>;
  /** The names that begin so. */
  names(prefix: string): Promise<string[]>;
  /** Downloads the package, checked by apt, and returns the file's path. */
  download(name: string, version: string, onProgress?: (fraction: number) => void): Promise<string>;
  /**
   * What it takes to have `wanted` on a machine with nothing on it, in the order in which apt would unpack it. Names, or apt's
   * patterns (apt-patterns(7)). @throws ImageError for a name that the archives do not have, or what cannot be together
   */
  plan(wanted: readonly string[]): Promise<PlannedPackage[]>;
  /**
   * Downloads all of a plan, but for the files that are in `present` (paths of packages, by the names that apt gives them).
   * @returns paths by these names
   */
  fetch(
    wanted: readonly string[],
    present: ReadonlyMap<string, string>,
    onProgress?: (fraction: number) => void,
  ): Promise<Map<string, string>>;
}

export interface PlannedPackage {
  name: string;
  version: string;
  /** The name of its file. */
  file: string;
}

/**
 * @param folder an empty folder of our own
 * @param onInterrupt is given what stops a running apt
 * @throws ImageError where there is no apt
 */
export function createApt(folder: string, architecture: string, onInterrupt: (stop: () => void) => void): Apt {
  if (!isOnPath('apt-get')) throw noApt('apt-get');
  const state = join(folder, 'state');
  const cache = join(folder, 'cache');
  const downloads = join(folder, 'downloads');
  for (const path of [join(state, 'lists', 'partial'), join(cache, 'archives', 'partial'), downloads])
    mkdirSync(path, { recursive: true });
  const settings = {
    'Dir::State': state,
    'Dir::State::lists': join(state, 'lists'),
    'Dir::State::status': '/dev/null',
    'Dir::Cache': cache,
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'Acquire::Languages': 'none',
    // Run by root, apt would download as a user of its own, who cannot write here.
    'APT::Sandbox::User': '',
    'APT::Status-Fd': '3',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  let stopRunning: () => void = () => {};
  onInterrupt(() => stopRunning());
  /** What the last update complained about. */
  let complaint: string | undefined;

  /** Installing asks what is there already: nothing. apt puts its locks beside that file. */
  function install(words: readonly string[], onProgress?: (fraction: number) => void): Promise<Outcome> {
    const status = join(state, 'status');
    writeFileSync(status, '');
    const archives = join(cache, 'archives');
    const more = ['-o', `Dir::State::status=${status}`, '-o', `Dir::Cache::archives=${archives}`];
    return run('apt-get', [...more, '-q', '-y', '--no-install-recommends', ...words], onProgress);
  }

  async function run(
    program: 'apt-get' | 'apt-cache',
    words: string[],
    onProgress?: (fraction: number) => void,
  ): Promise<Outcome> {
    const child = spawn(program, [...options, ...words], {
      cwd: downloads,
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    stopRunning = () => child.kill();
    const outcome: Outcome = { code: -1, output: '', errors: '' };
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (outcome.output += text));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (outcome.errors += text));
    let fraction = 0;
    watchProgress(child.stdio[3] as Readable, value => onProgress?.((fraction = value)));
    const guard = guardAgainstStalling(child, folder, () => `${outcome.output.length} ${fraction}`);
    try {
      outcome.code = await new Promise<number>((resolve, reject) => {
        child.on('error', reject);
        child.on('close', code => resolve(code ?? -1));
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw noApt(program);
      throw error;
    } finally {
      guard.end();
      stopRunning = () => {};
    }
    if (guard.reason === 'stalled')
      throw new ImageError(
        `apt has not got on for ${STALLED / 60_000} minutes; check the network and try again, ${INSTEAD}`,
      );
    // As our own failed write would say it; cache.ts turns it into a sentence.
    if (guard.reason === 'disk full' || /No space left on device/.test(outcome.errors + outcome.output))
      throw Object.assign(new Error(`${program}: no space left on device`), { code: 'ENOSPC' });
    return outcome;
  }

  return {
    async update(onProgress) {
      const { code, output, errors } = await run('apt-get', ['-q', 'update'], onProgress);
      // An archive that did not answer is a warning to apt. Whether it is one to us shows when we ask for a package.
      complaint = /^(?:Err:|E: |W: Failed).*(?:\n {2}.*)?/m.exec(`${output}\n${errors}`)?.[0].replace(/\s*\n\s*/g, ' ');
      if (code !== 0) complaint ??= `apt-get update ended with ${code}`;
    },

    async show(name) {
      const { code, output } = await run('apt-cache', ['--no-all-versions', 'show', name]);
      const field = (key: string) => new RegExp(`^${key}: (.*)$`, 'm').exec(output)?.[1];
      const version = field('Version');
      if (code !== 0 || version === undefined) {
        const found = readdirSync(join(state, 'lists')).some(file => file.includes('Packages'));
        if (complaint && !found)
          throw new ImageError(`apt reached no archive (${complaint}); check the network, ${INSTEAD}`);
        throw new ImageError(
          `apt's archives here have no ${name} for ${architecture}${complaint ? ` (${complaint})` : ''}; use Debian's archives, ${INSTEAD}`,
        );
      }
      const depends = (field('Depends') ?? '').split(/[,|]/).map(item => item.trim().split(/[ :]/)[0]);
      return { name, version, size: Number(field('Size') ?? 0), depends: depends.filter(Boolean) };
    },

    async names(prefix) {
      const { output } = await run('apt-cache', ['pkgnames', prefix]);
      return output.split('\n').filter(name => name.startsWith(prefix));
    },

    async download(name, version, onProgress) {
      const { code, output, errors } = await run('apt-get', ['-q', 'download', `${name}=${version}`], onProgress);
      const file = readdirSync(downloads).find(
        candidate => candidate.startsWith(`${name}_`) && candidate.endsWith('.deb'),
      );
      if (code !== 0 || !file) {
        const reason = /^(?:Err:|E: ).*/m.exec(`${errors}\n${output}`)?.[0] ?? `apt-get ended with ${code}`;
        throw new ImageError(`apt could not download ${name} (${reason}); check the network and try again, ${INSTEAD}`);
      }
      return join(downloads, file);
    },

    async plan(wanted) {
      const { code, output, errors } = await install(['--simulate', 'install', ...wanted]);
      // Inst libc6 (2.36-9 Debian:12.15/stable [amd64])
      const planned = [...output.matchAll(/^Inst (\S+) \((\S+) .*\[(\w+)\]\)/gm)].map(
        ([, name, version, its]): PlannedPackage => ({
          name: name!,
          version: version!,
          file: `${name}_${version!.replaceAll(':', '%3a')}_${its}.deb`,
        }),
      );
      if (code === 0 && planned.length > 0) return planned;
      const unknown = /^E: Unable to locate package (\S+)/m.exec(errors)?.[1];
      const why = unknown
        ? `they have no ${unknown}`
        : (/^E: .*/m.exec(errors)?.[0] ?? complaint ?? 'they have nothing');
      throw new ImageError(
        `apt's archives here make no root for ${architecture}: ${why}; check the names and the network`,
      );
    },

    async fetch(wanted, present, onProgress) {
      const archives = join(cache, 'archives');
      for (const [file, path] of present) copyFileSync(path, join(archives, file));
      const { code, output, errors } = await install(['--download-only', 'install', ...wanted], onProgress);
      if (code !== 0) {
        const reason = /^(?:Err:|E: ).*/m.exec(`${errors}\n${output}`)?.[0] ?? `apt-get ended with ${code}`;
        throw new ImageError(`apt could not download the packages (${reason}); check the network and try again`);
      }
      const files = readdirSync(archives).filter(name => name.endsWith('.deb'));
      return new Map(files.map(file => [file, join(archives, file)]));
    },
  };
}

const noApt = (program: string) =>
  new ImageError(`no ${program} on this machine to fetch Debian's kernel with; run this on Debian, ${INSTEAD}`);

/** Known before anything is said of asking it. */
function isOnPath(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some(folder => existsSync(join(folder || '.', program)));
}

interface Outcome {
  code: number;
  output: string;
  errors: string;
}

/** How long apt may go without any news, in milliseconds: its own time limits are shorter. */
const STALLED = 180_000;
/** With less room than this, in bytes, the disk counts as full: apt would wait for ever for the program that unpacks its lists. */
const NO_ROOM = 1 << 20;

/** Ends apt when its disk is full or nothing happens any more. @param news changes whenever something does. */
function guardAgainstStalling(child: ChildProcess, folder: string, news: () => string) {
  let [last, since] = ['', Date.now()];
  const guard: { reason?: 'stalled' | 'disk full'; end(): void } = { end: () => clearInterval(timer) };
  const timer = setInterval(() => {
    if (last !== news()) [last, since] = [news(), Date.now()];
    const { bavail, bsize } = statfsSync(folder);
    if (bavail * bsize < NO_ROOM) guard.reason = 'disk full';
    else if (Date.now() - since > STALLED) guard.reason = 'stalled';
    if (guard.reason) child.kill();
  }, 1000);
  return guard;
}

/** apt's status lines: `dlstatus:<item>:<percent>:<text>` (README.progress-reporting of apt). */
function watchProgress(status: Readable, onProgress?: (fraction: number) => void): void {
  let rest = '';
  status.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const percent = /^dlstatus:[^:]*:([\d.]+):/.exec(line)?.[1];
      if (percent) onProgress?.(Math.min(1, Number(percent) / 100));
    }
  });
}
