/** `polyvisor guest`: fetches the default guest, or looks whether Debian has a newer one, and says what it made. */
import { formatSize } from '../boot/image-error.ts';
import { GUEST_KERNELS, type Guest } from '../host/node/guest.ts';
import { jsonText } from '../matrix/escape.ts';
import { fetchGuest } from './fetch-guest.ts';
import { print } from './output.ts';
import { writeOutput } from './output-file.ts';
import { parseGuestKernel } from './values.ts';

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
  const kernel = parseGuestKernel(options.arch ?? 'amd64', options.flavour);
  const guest = await fetchGuest({ ...kernel, refresh: !options.cached });
  const { json } = options;
  const text = `${jsonText(guest, 2)}\n`;
  if (typeof json === 'string') writeOutput(json, text);
  print(json === true ? text : describe(guest));
  return guest;
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
