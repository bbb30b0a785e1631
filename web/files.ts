/** The kernels that the page is served with, and files that the user hands in. */

/** A line of kernels.json, which whoever serves the page writes. Paths are relative to the page. */
export interface ServedKernel {
  id: string;
  name: string;
  kernel: string;
  initrd?: string;
}

export interface BootFiles {
  kernel: Uint8Array<ArrayBuffer>;
  initrd: Uint8Array<ArrayBuffer> | undefined;
}

/** @returns none where the page is served without any */
export async function servedKernels(): Promise<ServedKernel[]> {
  try {
    const response = await fetch('kernels.json');
    return response.ok ? ((await response.json()) as ServedKernel[]) : [];
  } catch {
    return [];
  }
}

const fetched = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();

/** @param progress hears how many bytes have come. @throws Error, later */
export function fetchFile(path: string, progress: (bytes: number) => void): Promise<Uint8Array<ArrayBuffer>> {
  let file = fetched.get(path);
  if (!file) {
    file = download(path, progress);
    fetched.set(path, file);
    file.catch(() => fetched.delete(path));
  }
  return file;
}

async function download(path: string, progress: (bytes: number) => void): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(path);
  if (!response.ok || !response.body) throw new Error(`${path}: the server says ${response.status}`);
  const pieces: Uint8Array[] = [];
  let size = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    size += value.length;
    progress(size);
  }
  const all = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

export type FileKind = 'snapshot' | 'kernel' | 'initrd' | 'disk';

/** How the files of each kind begin: bytes, as characters, and where. A disk is what begins like none of them. */
const BEGINNINGS: readonly (readonly [FileKind, number, string])[] = [
  ['snapshot', 0, 'PVSNAP'],
  ['kernel', 0x202, 'HdrS'],
  ['kernel', 0, '\x7fELF'],
  ['initrd', 0, '070701'],
  ['initrd', 0, '\x1f\x8b'],
  ['initrd', 0, '\xfd7zXZ'],
  ['initrd', 0, '\x28\xb5\x2f\xfd'],
];

export async function kindOf(file: Blob): Promise<FileKind> {
  const start = new Uint8Array(await file.slice(0, 1024).arrayBuffer());
  const found = BEGINNINGS.find(([, at, text]) =>
    [...text].every((character, index) => start[at + index] === character.charCodeAt(0)),
  );
  return found?.[0] ?? 'disk';
}

export const bytesOf = async (file: Blob) => new Uint8Array(await file.arrayBuffer());

/** Has the browser save a file. */
export function saveFile(name: string, bytes: Uint8Array<ArrayBuffer>): void {
  const url = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }));
  const link = Object.assign(document.createElement('a'), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
