/**
 * Container images on the host: a folder in the OCI's image layout (image-layout.md, version 1.0.0), or an archive, of that
 * layout or as `docker save` has always written it (manifest.json). Blobs are checked against their digests.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { compressionOf, decompress } from '../../boot/decompress.ts';
import { ImageError } from '../../boot/image-error.ts';

export interface ContainerImage {
  /** Names by which `readLayer` finds them, the lowest first. */
  layers: string[];
  environment: Map<string, string>;
  /** The entry point and its words. */
  words: string[];
  cwd: string;
  user: string;
}

/** A file of the layout, or undefined. */
type Read = (name: string) => Uint8Array | undefined;

const INDEXES = 8;

/**
 * The image at `path` for Linux on `architecture`, as Go names it.
 * @throws ImageError for what is none; the host's error (with `code`) if it cannot be read
 */
export async function readContainerImage(path: string, architecture: string): Promise<ContainerImage> {
  const read = await open(path);
  const index = read('index.json');
  if (index) return fromIndex(read, json(index, 'index.json'), architecture);
  const manifest = read('manifest.json');
  if (!manifest)
    throw new ImageError('neither an OCI layout nor what "docker save" writes: no index.json, no manifest.json');
  const first = json(manifest, 'manifest.json');
  const { Config, Layers } = (Array.isArray(first) ? first[0] : undefined) ?? {};
  if (typeof Config !== 'string' || !isTexts(Layers))
    throw new ImageError('its manifest.json names no configuration and layers');
  return describe(json(need(read, Config), Config), Layers, architecture);
}

/** A layer's archive, as it stands in the image. */
export async function readLayer(path: string, name: string): Promise<Uint8Array> {
  return need(await open(path), name);
}

async function open(path: string): Promise<Read> {
  if (statSync(path).isDirectory())
    return name => {
      // Names come from the image: they stay in its folder.
      if (name !== 'index.json' && name !== 'manifest.json' && !/^blobs\/\w+\/\w+$/.test(name)) return undefined;
      try {
        return checked(name, new Uint8Array(readFileSync(join(path, name))));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
    };
  const bytes = new Uint8Array(readFileSync(path));
  const tar = compressionOf(bytes) ? await decompress(bytes) : bytes;
  const { unpackTar } = await import('modern-tar');
  try {
    const entries = await unpackTar(tar);
    const files = new Map(entries.map(({ header, data }) => [header.name.replace(/^\.\//, ''), { header, data }]));
    return name => {
      const found = files.get(name);
      // Layers of old versions of Docker's are links to those of other images.
      const target = found?.header.type === 'symlink' ? found.header.linkname?.replace(/^(\.\.?\/)+/, '') : undefined;
      const { data } = (target === undefined ? found : files.get(target)) ?? {};
      return data && checked(name, data);
    };
  } catch (error) {
    throw new ImageError(`a damaged archive: ${error instanceof Error ? error.message : error}`);
  }
}

function checked(name: string, bytes: Uint8Array): Uint8Array {
  const digest = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1];
  if (digest && createHash('sha256').update(bytes).digest('hex') !== digest)
    throw new ImageError(`${name} is not what its name says: the image is damaged`);
  return bytes;
}

function need(read: Read, name: string): Uint8Array {
  const bytes = read(name);
  if (!bytes) throw new ImageError(`${name} is missing in the image`);
  return bytes;
}

// biome-ignore lint/suspicious/noExplicitAny: JSON from anywhere; every member is checked where it is used
function json(bytes: Uint8Array, name: string): any {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    throw new ImageError(`${name} in the image is no JSON`);
  }
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every(member => typeof member === 'string');

function blobName(digest: unknown): string {
  const match = typeof digest === 'string' ? /^(\w+):(\w+)$/.exec(digest) : undefined;
  if (!match) throw new ImageError('a digest in the image that is none');
  return `blobs/${match[1]}/${match[2]}`;
}

/** Down from an index, which may have further ones in it, to the manifest of the architecture. */
// biome-ignore lint/suspicious/noExplicitAny: see json
function fromIndex(read: Read, index: any, architecture: string): ContainerImage {
  let document = index;
  for (let depth = 0; Array.isArray(document.manifests); depth++) {
    if (depth > INDEXES) throw new ImageError('its index.json leads nowhere');
    const { manifests } = document;
    const fits = manifests.find(({ platform }: { platform?: { os?: string; architecture?: string } }) => {
      return !platform || (platform.os === 'linux' && platform.architecture === architecture);
    });
    if (!fits) {
      const others = manifests.map((one: { platform?: { os?: string; architecture?: string } }) => {
        return `${one.platform?.os}/${one.platform?.architecture}`;
      });
      throw new ImageError(`the image is not for linux/${architecture}, but for ${others.join(', ') || 'nothing'}`);
    }
    const name = blobName(fits.digest);
    document = json(need(read, name), name);
  }
  const { config, layers } = document;
  if (!config || !Array.isArray(layers)) throw new ImageError('its manifest names no configuration and layers');
  const name = blobName(config.digest);
  const names = layers.map((layer: { digest?: unknown }) => blobName(layer?.digest));
  return describe(json(need(read, name), name), names, architecture);
}

/** What the configuration says (config.md). */
// biome-ignore lint/suspicious/noExplicitAny: see json
function describe(document: any, layers: string[], architecture: string): ContainerImage {
  const { os = 'linux', architecture: built = architecture, config } = document;
  if (os !== 'linux' || built !== architecture)
    throw new ImageError(`the image is for ${os}/${built}, not for linux/${architecture}`);
  const { Env, Entrypoint, Cmd, WorkingDir, User } = config ?? {};
  const pairs = (isTexts(Env) ? Env : []).map((text): [string, string] => {
    const at = text.indexOf('=');
    return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
  });
  return {
    layers,
    environment: new Map(pairs),
    words: [...(isTexts(Entrypoint) ? Entrypoint : []), ...(isTexts(Cmd) ? Cmd : [])],
    cwd: typeof WorkingDir === 'string' && WorkingDir !== '' ? WorkingDir : '/',
    user: typeof User === 'string' ? User : '',
  };
}
