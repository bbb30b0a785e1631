/**
 * What is wrong with a kernel, an initrd, a command line or an archive that somebody handed in. The message is one line for
 * the person who named the file: what is wrong, with the values, and what to do about it.
 */
export class ImageError extends Error {
  override name = 'ImageError';
}

/** A size for messages: `14.2 MiB`, `83 bytes`. */
export function formatSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} byte${bytes === 1 ? '' : 's'}`;
  if (bytes < 1024 ** 2) return `${trim(bytes / 1024)} KiB`;
  return bytes < 1024 ** 3 ? `${trim(bytes / 1024 ** 2)} MiB` : `${trim(bytes / 1024 ** 3)} GiB`;
}

function trim(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}
