/** What a process has taken of the host, from Linux's /proc: processor time, and memory beside its guest's RAM. */
import { readFileSync } from 'node:fs';

const MEBIBYTE = 1 << 20;
/** By how much the mapping that holds guest RAM may exceed it, for tables and caches beside it. */
const SLACK = 512 * MEBIBYTE;

/**
 * Resident bytes of process `pid` without those of its guest's RAM; undefined where there is no /proc. RAM is inside that of
 * the mappings large enough which holds most (others are but reserved): what it holds beyond RAM counts as ours.
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
  let inRam = 0;
  let size = 0;
  for (const line of text.split('\n')) {
    const [, name, kibibytes] = /^(Size|Rss): +(\d+) kB/.exec(line) ?? [];
    if (name === 'Size') size = Number(kibibytes) * 1024;
    if (name !== 'Rss') continue;
    const resident = Number(kibibytes) * 1024;
    total += resident;
    if (size >= ram && size < ram + SLACK) inRam = Math.max(inRam, Math.min(resident, ram));
  }
  return total - inRam;
}

/** Linux counts processor time in this many ticks a second for everybody who asks (USER_HZ). */
const TICKS = 100;

/** Seconds all threads of process `pid` have run, to a hundredth; undefined where there is no /proc. */
export function processorSeconds(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // After the name, which may hold anything, fields 3 and on; 14 and 15 are utime and stime (proc_pid_stat(5)).
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[14 - 3]) + Number(fields[15 - 3])) / TICKS;
  } catch {
    return undefined;
  }
}

export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / MEBIBYTE)} MiB`;
}
