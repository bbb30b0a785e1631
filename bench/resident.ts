/** How much of the host's memory a process holds beside its guest's RAM: from Linux's /proc. */
import { readFileSync } from 'node:fs';

const MEBIBYTE = 1 << 20;
/** By how much the mapping that holds guest RAM may exceed it, for tables and caches beside it. */
const SLACK = 512 * MEBIBYTE;

/**
 * Resident bytes of process `pid` without those of its guest's RAM; undefined where there is no /proc. RAM is inside the
 * first mapping that is large enough: what that holds beyond RAM counts as ours.
 * @param ram bytes
 */
export function residentBesideRam(pid: number, ram: number): number | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/smaps`, 'latin1');
  } catch {
    return undefined;
  }
  let total = 0;
  let inRam: number | undefined;
  let size = 0;
  for (const line of text.split('\n')) {
    const [, name, kibibytes] = /^(Size|Rss): +(\d+) kB/.exec(line) ?? [];
    if (name === 'Size') size = Number(kibibytes) * 1024;
    if (name !== 'Rss') continue;
    const resident = Number(kibibytes) * 1024;
    total += resident;
    if (size >= ram && size < ram + SLACK) inRam ??= Math.min(resident, ram);
  }
  return total - (inRam ?? 0);
}

export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / MEBIBYTE)} MiB`;
}
