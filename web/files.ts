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

/**
 * A file beside the page. It is not kept: the browser does that, on its disk.
 * @param progress hears how many bytes have come. @throws Error, later
 */
export async function fetchFile(path: string, progress: (bytes: number) => void): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(path);
  if (!response.ok || !response.body) throw new Error(`${path}: the server says ${response.status}`);
  const reader = response.body.getReader();
  // The length is that of what was sent, which may have been compressed.
  let all = new Uint8Array(Number(response.headers.get('content-length')));
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return size === all.length ? all : all.slice(0, size);
    if (size + value.length > all.length) {
      const larger = new Uint8Array(2 * (size + value.length));
      larger.set(all.subarray(0, size));
      all = larger;
    }
    all.set(value, size);
    size += value.length;
    progress(size);
  }
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
