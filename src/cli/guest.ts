/** `polyvisor guest`: fetches the default guest, or looks whether Debian has a newer one, and says what it made. */
import { writeFileSync } from 'node:fs';
import process from 'node:process';
import { formatSize } from '../boot/image-error.ts';
import { GUEST_KERNELS, type Guest, type GuestArchitecture } from '../host/node/guest.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { fetchGuest } from './fetch-guest.ts';
import { nearest } from './nearest.ts';

export interface GuestCommandOptions {
  /** Debian's name of the architecture. */
  arch?: string;
  /** Which of the architecture's kernels. */
  flavour?: string;
  /** Use what is in the cache; ask the archives only when there is nothing. */
  cached?: boolean;
  /** Print the summary as JSON: to stdout, or to the file named. */
  json?: boolean | string;
}

/** What the options may say, for `--help`. */
export const guestKernels = Object.entries(GUEST_KERNELS)
  .map(([architecture, kernels]) => `${architecture} (${kernels.map(({ flavour }) => flavour).join(', ')})`)
  .join('; ');

/** @throws Failure when the guest cannot be had */
export async function guestCommand(options: GuestCommandOptions = {}): Promise<Guest> {
  const architecture = architectureNamed(options.arch ?? 'amd64');
  const guest = await fetchGuest({ architecture, flavour: options.flavour, refresh: !options.cached });
  const { json } = options;
  const text = `${JSON.stringify(guest, undefined, 2)}\n`;
  if (typeof json === 'string') withFile(json, status.output, () => writeFileSync(json, text));
  process.stdout.write(json === true ? text : describe(guest));
  return guest;
}

function architectureNamed(name: string): GuestArchitecture {
  if (name in GUEST_KERNELS) return name as GuestArchitecture;
  const names = Object.keys(GUEST_KERNELS);
  const similar = nearest(name, names);
  throw new Failure(
    `no guest for the architecture ${name}${similar ? `: did you mean ${similar}?` : ''}; there is ${names.join(', ')}`,
  );
}

function describe(guest: Guest): string {
  const rows = {
    kernel: `Debian's Linux ${guest.release}, version ${guest.version}`,
    busybox: guest.busyboxVersion,
    modules: `${guest.modules.length}: ${guest.modules.join(' ')}`,
    files: `${guest.kernel} (${formatSize(guest.kernelSize)})`,
    '': `${guest.initrd} (${formatSize(guest.initrdSize)})`,
  };
  return Object.entries(rows)
    .map(([name, text]) => `${name.padEnd(9)}${text}\n`)
    .join('');
}
