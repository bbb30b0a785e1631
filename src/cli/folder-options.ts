/** The options that give a guest files: --share, and --root with what belongs to it. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { CHANNEL_TAG } from '../folders/channel.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';

/** A folder that the guest mounts; it is opened in the guest's thread. */
export interface FolderOption {
  tag: string;
  source:
    | { kind: 'folder'; path: string; readOnly: boolean; ownersAsTheyAre: boolean }
    /** A folder that is not written to, with a layer above that is gone afterwards. */
    | { kind: 'layer'; path: string; ownersAsTheyAre: boolean }
    | { kind: 'tar'; path: string }
    /** Layers of an image, the lowest first: files, or members of an archive. */
    | { kind: 'image'; path: string; layers: readonly string[] }
    | { kind: 'channel' };
}

export type RootOption =
  | { kind: 'host' }
  | { kind: 'folder'; path: string; readOnly: boolean }
  | { kind: 'tar'; path: string }
  | { kind: 'oci'; path: string }
  /** A root of Debian's packages in the cache, with these besides what every one has. */
  | { kind: 'debian'; packages: string[] }
  | { kind: 'disk'; path: string; readOnly: boolean; layer: boolean };

/** How a root is used. */
export interface RootSettings {
  root: RootOption;
  /** The root's own init is started. */
  init: boolean;
  cwd: string | undefined;
  environment: ReadonlyMap<string, string>;
  /** A name or number, or two of them. */
  user: string | undefined;
}

/** Whether a guest with such a root mounts folders: all do but those that start an init on a disk. */
export function mountsFolders({ root, init }: Pick<RootSettings, 'root' | 'init'>): boolean {
  return !(init && (root.kind === 'disk' || root.kind === 'debian'));
}

/** The tag of the root's folder. */
export const ROOT_TAG = 'root';
const LONGEST_TAG = 31;

/** `PATH[,tag=NAME][,ro]`; a comma in the path is written twice. */
export function parseShare(text: string, index: number): FolderOption {
  const [path, ...words] = splitWords(text);
  if (!path) throw new Failure(`--share ${text}: the path of a folder comes first`);
  let tag = index === 0 ? 'share' : `share${index}`;
  let readOnly = false;
  for (const word of words) {
    if (word === 'ro') readOnly = true;
    else if (word === 'rw') readOnly = false;
    else if (word.startsWith('tag=')) tag = word.slice('tag='.length);
    else throw new Failure(`--share ${text}: unknown word "${word}": PATH[,tag=NAME][,ro]`);
  }
  if (!/^[\w.+-]+$/.test(tag) || tag.length > LONGEST_TAG || tag === '.' || tag === '..')
    throw new Failure(`--share ${text}: a tag is up to ${LONGEST_TAG} letters, digits, or . _ + -`);
  if (tag === CHANNEL_TAG || tag === ROOT_TAG) throw new Failure(`--share ${text}: the tag ${tag} is Polyvisor's own`);
  return { tag, source: { kind: 'folder', path: checkFolder('--share', path), readOnly, ownersAsTheyAre: false } };
}

/** @throws Failure for two folders with one tag */
export function parseShares(texts: readonly string[]): FolderOption[] {
  const shares = texts.map(parseShare);
  const twice = shares.find(({ tag }, index) => shares.findIndex(other => other.tag === tag) < index);
  if (twice) throw new Failure(`--share: the tag ${twice.tag} is given twice`);
  return shares;
}

const TAR = /\.(?:tar(?:\.(?:gz|xz|zst|lz4))?|tgz|txz|tzst)$/i;

/** `debian`, or `debian:PACKAGES`. */
const DEBIAN = /^debian(?::(.*))?$/;

/** `host`, `debian`, `oci:PATH`, or a folder, an archive or a disk image, by what is there. */
export function parseRoot(text: string): RootOption {
  if (text === 'host') return { kind: 'host' };
  const debian = DEBIAN.exec(text);
  if (debian) return { kind: 'debian', packages: parsePackages(`--root ${text}`, debian[1]) };
  if (text.startsWith('oci:')) return { kind: 'oci', path: text.slice('oci:'.length) };
  const [path, ...words] = splitWords(text);
  if (!path) throw new Failure('--root: host, debian, a folder, an archive, oci:PATH or a disk image');
  const stranger = words.find(word => !['ro', 'rw', 'layer'].includes(word));
  if (stranger !== undefined)
    throw new Failure(`--root ${text}: unknown word "${stranger}": FOLDER[,ro] or IMAGE[,ro|,layer]`);
  const readOnly = words.includes('ro');
  const layer = words.includes('layer');
  const found = withFile(`--root ${path}`, status.noInput, () => statSync(path));
  // Above a folder that is not written to, there always is a layer.
  if (found.isDirectory()) return { kind: 'folder', path: resolve(path), readOnly: readOnly || layer };
  if (layer && readOnly) throw new Failure(`--root ${text}: "ro" is not written to, "layer" is: give one of them`);
  return TAR.test(path) ? { kind: 'tar', path } : { kind: 'disk', path, readOnly, layer };
}

/** `python3,gcc`. @param option for messages. @throws Failure for what is no name of a package (Debian Policy 5.6.1) */
export function parsePackages(option: string, text = ''): string[] {
  const names = text
    .split(',')
    .map(name => name.trim())
    .filter(name => name !== '');
  const stranger = names.find(name => !/^[a-z0-9][a-z0-9+.-]+$/.test(name));
  if (stranger !== undefined)
    throw new Failure(`${option}: "${stranger}" is no name of a Debian package: names and commas, such as python3,gcc`);
  return names;
}

/** `NAME=VALUE`, or `NAME` for the value that it has here. */
export function parseEnvironment(texts: readonly string[]): Map<string, string> {
  const here = new Map(Object.entries(process.env));
  return new Map(
    texts.map((text): [string, string] => {
      const at = text.indexOf('=');
      const name = at < 0 ? text : text.slice(0, at);
      if (!/^[A-Za-z_]\w*$/.test(name))
        throw new Failure(`--env ${text}: NAME=VALUE, or NAME for the value it has here`);
      const value = at < 0 ? here.get(name) : text.slice(at + 1);
      if (value === undefined) throw new Failure(`--env ${text}: ${name} has no value here`);
      return [name, value];
    }),
  );
}

export function parseUser(text: string): string {
  if (/^[\w.-]+\$?(?::[\w.-]+\$?)?$/.test(text)) return text;
  throw new Failure(`--user ${text}: a name or a number, and after a colon perhaps a group's`);
}

const splitWords = (text: string) => text.split(/(?<!,),(?!,)/).map(part => part.replaceAll(',,', ','));

function checkFolder(option: string, path: string): string {
  const found = withFile(`${option} ${path}`, status.noInput, () => statSync(path));
  if (!found.isDirectory()) throw new Failure(`${option} ${path}: is a file, not a folder`, status.noInput);
  return resolve(path);
}
