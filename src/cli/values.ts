/** The values options take: sizes, seconds, disks, names. Each parser throws a Failure that says what it expected. */

import type { GuestOptions } from '../host/node/guest.ts';
import { GUEST_KERNELS, type GuestArchitecture, type GuestKernel, guestKernel } from '../host/node/guest.ts';
import { findHypervisor, hypervisors } from '../hypervisors/list.ts';
import { LARGEST_SEED, type ScheduleOption } from '../machine/schedule.ts';
import type { HypervisorModule } from '../paravirt/operations.ts';
import { arrange, type Topology } from '../x86/topology.ts';
import { Failure } from './failure.ts';
import { nearest } from './nearest.ts';

const UNITS: ReadonlyMap<string, number> = new Map(Object.entries({ '': 2 ** 20, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }));
export const PAGE_SIZE = 4096;
/** What a WebAssembly memory of 4 GiB leaves for a guest. */
const MAXIMUM_MEMORY = 3 * 2 ** 30;
/** Linux does not get far with less. */
const MINIMUM_MEMORY = 2 ** 20;

/**
 * RAM: `512M`, `1G`, `1.5G`; a number alone means MiB.
 * @param option whose value it is, for what is said of a mistake @returns bytes, a multiple of 4096
 */
export function parseMemory(text: string, option = '--memory'): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?$/i.exec(text.trim());
  if (!match) throw new Failure(`${option} ${text}: not a size: try 512M or 1G`);
  const bytes = Number(match[1]) * UNITS.get(match[2].toUpperCase())!;
  if (bytes > MAXIMUM_MEMORY)
    throw new Failure(
      `${option} ${text}: at most ${MAXIMUM_MEMORY / 2 ** 30}G: the guest's RAM and its translations share one WebAssembly memory, whose addresses have 32 bits`,
    );
  if (bytes < MINIMUM_MEMORY) throw new Failure(`${option} ${text}: between 1M and ${MAXIMUM_MEMORY / 2 ** 30}G`);
  return Math.floor(bytes / PAGE_SIZE) * PAGE_SIZE;
}

/** Processors: `4`, or with how they are arranged, `4,sockets=2,cores=1,threads=2`. What is left out follows. */
export function parseCpus(text: string): Topology {
  const [count, ...words] = text.split(',');
  const numbers: Partial<Record<keyof Topology, number>> = { cpus: wholeNumber(count!) };
  for (const word of words) {
    const [name, value] = word.split('=');
    if ((name !== 'sockets' && name !== 'cores' && name !== 'threads') || value === undefined)
      throw new Failure(`--cpus ${text}: "${word}" is not sockets=, cores= or threads= with a number`);
    numbers[name] = wholeNumber(value);
  }
  const topology = arrange(numbers);
  if (typeof topology === 'string') throw new Failure(`--cpus ${text}: ${topology}`);
  return topology;
}
/** NaN where there is none: whoever checks the range says so. */
const wholeNumber = (text: string): number => (/^\d+$/.test(text.trim()) ? Number(text) : Number.NaN);

/** `fair`, or a seed. */
export function parseSchedule(text: string): ScheduleOption {
  if (text === 'fair') return text;
  const seed = wholeNumber(text);
  if (!(seed <= LARGEST_SEED)) throw new Failure(`--schedule ${text}: "fair", or a seed from 0 to ${LARGEST_SEED}`);
  return seed;
}

/** The longest a Node.js timer runs, in seconds: 24 days. */
const MAXIMUM_SECONDS = Math.floor((2 ** 31 - 1) / 1000);

export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (text.trim() === '' || !(seconds > 0 && seconds <= MAXIMUM_SECONDS))
    throw new Failure(`--timeout ${text}: a number of seconds above 0, such as 60 or 0.5`);
  return seconds;
}

/** Where a debugger may come. */
export interface DebugOption {
  address: string;
  /** 0: any that is free. */
  port: number;
}

/** `[HOST:]PORT`. */
export function parseDebug(text: string): DebugOption {
  const [, host = '', port] = /^(?:(\[[0-9a-f:.]+\]|[\w.-]*):)?(\d{1,5})$/i.exec(text) ?? [];
  if (port === undefined || Number(port) > 65535)
    throw new Failure(`--gdb ${text}: a port from 0 (any) to 65535, such as 1234 or 127.0.0.1:1234`);
  return { address: host.replace(/^\[|\]$/g, '') || '127.0.0.1', port: Number(port) };
}

export interface DiskOption {
  path: string;
  readOnly: boolean;
  /** Others may have it open, too. */
  share: boolean;
  /** What it is plugged into; undefined: what the hypervisor's guests look at first. */
  bus: string | undefined;
  /** undefined: raw, unless it looks like something else. */
  format: DiskFormat | undefined;
  /** The files under a qcow2 image may be anywhere. */
  backingAnywhere: boolean;
  /** The image is not written to: what the guest writes is in memory, and gone at the end. */
  layer?: boolean;
}

const DISK_FORMATS = ['raw', 'qcow2'] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];
const DISK_HELP = 'FILE[,ro][,layer][,share][,bus=NAME][,format=raw|qcow2][,backing=any]';

/** As DISK_HELP says; a comma in the name is written twice. */
export function parseDisk(text: string): DiskOption {
  const [path, ...words] = text.split(/(?<!,),(?!,)/).map(part => part.replaceAll(',,', ','));
  if (!path) throw new Failure(`--disk ${text}: the name of a file comes first`);
  let readOnly = false;
  let share = false;
  let layer = false;
  let bus: string | undefined;
  let format: DiskFormat | undefined;
  let backingAnywhere = false;
  for (const word of words) {
    if (word === 'ro') readOnly = true;
    else if (word === 'rw') readOnly = false;
    else if (word === 'share') share = true;
    else if (word === 'layer') layer = true;
    else if (word.startsWith('bus=')) bus = word.slice('bus='.length);
    else if (word === 'backing=any') backingAnywhere = true;
    else if (word.startsWith('format=')) {
      format = DISK_FORMATS.find(name => word === `format=${name}`);
      if (!format) throw new Failure(`--disk ${text}: raw and qcow2: "qemu-img convert -O qcow2" makes one of others`);
    } else throw new Failure(`--disk ${text}: unknown word "${word}": ${DISK_HELP}`);
  }
  if (backingAnywhere && format !== 'qcow2')
    throw new Failure(`--disk ${text}: backing= is for images that are above another: format=qcow2`);
  if (layer && readOnly) throw new Failure(`--disk ${text}: "ro" is not written to, "layer" is: give one of them`);
  return { path, readOnly, share, bus, format, backingAnywhere, ...(layer && { layer }) };
}

/** Where the host's programs find the guest's vsock, and by which number the guest knows itself. */
export interface VsockOption {
  path: string;
  cid: number;
}

/** `PATH[,cid=NUMBER]`. */
export function parseVsock(text: string): VsockOption {
  const match = /^(.+?)(?:,cid=(\d{1,10}))?$/.exec(text);
  const cid = Number(match?.[2] ?? 3);
  if (!match || cid < 3 || cid > 2 ** 32 - 2)
    throw new Failure(`--vsock ${text}: a path, and a guest's number from 3 to 4294967294: PATH[,cid=NUMBER]`);
  return { path: match[1], cid };
}

/** What the second serial port is joined to. */
export type SerialOption = { kind: 'file' | 'unix'; path: string };

/** `FILE` or `unix:PATH`. */
export function parseSerial(text: string): SerialOption {
  const kind = text.startsWith('unix:') ? 'unix' : 'file';
  const path = kind === 'unix' ? text.slice('unix:'.length) : text;
  if (path === '') throw new Failure(`--serial ${text}: a file to write to, or unix:PATH for a UNIX socket`);
  return { kind, path };
}

/** When a snapshot is taken: once so many instructions have been executed, once the console has shown a text, or when asked. */
export type SaveWhen = { instructions: number } | { text: string } | 'asked';

export interface SaveOption {
  file: string;
  when: SaveWhen;
}

const THOUSANDS: ReadonlyMap<string, number> = new Map(Object.entries({ '': 1, k: 1e3, M: 1e6, G: 1e9 }));

/** `FILE[@WHEN]`: WHEN is a number of instructions, such as 500M, or a text of the console. */
export function parseSave(text: string): SaveOption {
  const at = text.lastIndexOf('@');
  const [file, when] = at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
  if (file === '') throw new Failure(`--save ${text}: the name of a file comes first`);
  if (when === undefined) return { file, when: 'asked' };
  if (when === '')
    throw new Failure(`--save ${text}: after the @ comes a number of instructions, or a text of the console`);
  const number = /^(\d+(?:\.\d+)?)([kMG]?)$/.exec(when);
  if (!number) return { file, when: { text: when } };
  return { file, when: { instructions: Math.round(Number(number[1]) * THOUSANDS.get(number[2])!) } };
}

export interface ModuleOption {
  path: string;
  /** What the kernel finds with it: all that was given. */
  words: string;
}

/** `FILE WORDS`, as in a boot loader's menu. */
export function parseModule(text: string): ModuleOption {
  const [path] = text.trim().split(/\s/);
  if (!path) throw new Failure('--module: the name of a file comes first');
  return { path, words: text.trim() };
}

/** A parser for an option that takes one of `choices`. */
export function oneOf<T extends string>(option: string, choices: readonly T[]): (text: string) => T {
  return text => {
    const choice = choices.find(candidate => candidate === text);
    if (choice !== undefined) return choice;
    throw new Failure(`${option} ${text}: ${unknown(text, choices)}`);
  };
}

/** True for what can only be meant as a file: names of hypervisors have neither dots nor slashes. */
export const isFileName = (text: string): boolean => /[./\\]/.test(text);

export function parseHypervisor(text: string): HypervisorModule {
  const found = findHypervisor(text);
  if (found) return found;
  const [name, ...words] = text.split(',');
  const named = hypervisors.find(hypervisor => hypervisor.name === name);
  if (named) {
    const options = Object.keys(named.options ?? {});
    const stranger = words.find(word => !options.includes(word));
    if (options.length === 0) throw new Failure(`--hypervisor ${text}: ${name} has no options`);
    throw new Failure(`--hypervisor ${text}: ${name} has no option "${stranger}": ${unknown(`${stranger}`, options)}`);
  }
  const names = hypervisors.map(hypervisor => hypervisor.name);
  throw new Failure(`unknown hypervisor "${text}": ${unknown(text, names)}`);
}

/** Which of Debian's kernels, by architecture and flavour or by its package's name. */
export function parseGuestKernel(arch: string, flavour: string | undefined): Pick<GuestOptions, keyof GuestKernel> {
  const architecture = oneOf('--arch', Object.keys(GUEST_KERNELS) as GuestArchitecture[])(arch);
  const named = flavour === undefined ? undefined : guestKernel(flavour);
  if (named?.flavour.startsWith('linux-image-')) return named;
  const flavours: readonly string[] = GUEST_KERNELS[architecture].map(kernel => kernel.flavour);
  return { architecture, flavour: flavour === undefined ? undefined : oneOf('--flavour', flavours)(flavour) };
}

function unknown(text: string, names: readonly string[]): string {
  const meant = nearest(text, names);
  const all = `there ${names.length === 1 ? 'is' : 'are'} ${names.join(', ')}`;
  return meant ? `did you mean ${meant}? (${all})` : all;
}
