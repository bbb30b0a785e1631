/** What a process has taken of the host, from Linux's /proc: processor time, and memory beside its guest's RAM. */
import { readdirSync, readFileSync } from 'node:fs';

const MEBIBYTE = 1 << 20;
/** By how much the mapping that holds guest RAM may exceed it, for tables and caches beside it. */
const SLACK = 512 * MEBIBYTE;

/**
 * Resident bytes of process `pid` without those of its guest's RAM; undefined where there is no /proc.
 * @param ram bytes
 */
export function residentBesideRam(pid: number, ram: number): number | undefined {
  const memory = memoryOf(pid, ram);
  return memory && memory.resident - memory.inRam;
}

interface ProcessMemory {
  /**
   * Bytes. Of `proportional`, each page that several processes have is divided among them; `own` are those that no other has, as
   * browsers count them: a program's text, of which there is one for all its processes, is not in them.
   */
  resident: number;
  proportional: number;
  own: number;
  /** Resident bytes of the guest's RAM. */
  inRam: number;
}

/**
 * RAM is inside that of the mappings large enough which holds most (others are but reserved): what it holds beyond RAM counts as
 * ours.
 */
function memoryOf(pid: number, ram: number): ProcessMemory | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/smaps`, 'latin1');
  } catch {
    return undefined;
  }
  const memory = { resident: 0, proportional: 0, own: 0, inRam: 0 };
  let size = 0;
  for (const line of text.split('\n')) {
    const [, name, kibibytes] = /^(Size|Rss|Pss|Private_Clean|Private_Dirty): +(\d+) kB/.exec(line) ?? [];
    const bytes = Number(kibibytes) * 1024;
    if (name === 'Size') size = bytes;
    if (name === 'Pss') memory.proportional += bytes;
    if (name?.startsWith('Private')) memory.own += bytes;
    if (name !== 'Rss') continue;
    memory.resident += bytes;
    if (size >= ram && size < ram + SLACK) memory.inRam = Math.max(memory.inRam, Math.min(bytes, ram));
  }
  return memory;
}

/** Bytes beside the guest's RAM. */
export interface BesideRam {
  /** Of the process that has it: what no other process has, and all that is resident. */
  own: number;
  resident: number;
  /** Of all that came of one process. */
  all: number;
}

/**
 * What process `pid` and those it has started have beside a guest's RAM; undefined where there is no /proc or none of them has RAM.
 * @param ram bytes
 */
export function familyBesideRam(pid: number, ram: number): BesideRam | undefined {
  const members = familyOf(pid).flatMap(member => memoryOf(member, ram) ?? []);
  const [first] = members.sort((one, other) => other.inRam - one.inRam);
  if (!first?.inRam) return undefined;
  const all = members.reduce((sum, { proportional }) => sum + proportional, 0) - first.inRam;
  return { own: first.own - first.inRam, resident: first.resident - first.inRam, all };
}

/** Process `pid` and those that it has started, and so on. */
function familyOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const fields = /^\d+$/.test(name) ? statOf(Number(name)) : undefined;
    // The fourth is the parent.
    if (fields) parents.set(Number(name), Number(fields[4 - 3]));
  }
  const family = [pid];
  for (const member of family) for (const [child, parent] of parents) if (parent === member) family.push(child);
  return family;
}

/** The fields of /proc/PID/stat from the third on, which is after the name, that may hold anything (proc_pid_stat(5)). */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** Linux counts processor time in this many ticks a second for everybody who asks (USER_HZ). */
const TICKS = 100;

/** Seconds all threads of process `pid` have run, to a hundredth; undefined where there is no /proc. */
export function processorSeconds(pid: number): number | undefined {
  const fields = statOf(pid);
  // 14 and 15 are utime and stime.
  return fields && (Number(fields[14 - 3]) + Number(fields[15 - 3])) / TICKS;
}

export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / MEBIBYTE)} MiB`;
}
