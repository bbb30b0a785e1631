/** `polyvisor guest [debian]`: fetches the default guest, or makes a root of Debian's packages, or looks for newer ones; says what it made. */
import { formatSize } from '../boot/image-error.ts';
import type { DebianRoot } from '../host/node/debian-root.ts';
import { GUEST_KERNELS, type Guest } from '../host/node/guest.ts';
import { jsonText } from '../matrix/escape.ts';
import { fetchGuest, fetchRoot } from './fetch-guest.ts';
import { parsePackages } from './folder-options.ts';
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

export interface RootCommandOptions extends Omit<GuestCommandOptions, 'flavour'> {
  /** Names, separated by commas. */
  packages?: string;
}

/** What the options may say, for `--help`. */
export const guestKernels = Object.entries(GUEST_KERNELS)
  .map(([architecture, kernels]) => `${architecture} (${kernels.map(({ flavour }) => flavour).join(', ')})`)
  .join('; ');

/** @throws Failure when the guest cannot be had */
export async function guestCommand(options: GuestCommandOptions = {}): Promise<Guest> {
  const kernel = parseGuestKernel(options.arch ?? 'amd64', options.flavour);
  const guest = await fetchGuest({ ...kernel, refresh: !options.cached });
  say(guest, describe(guest), options);
  return guest;
}

/** `polyvisor guest debian`. @throws Failure when the root cannot be had */
export async function rootCommand(options: RootCommandOptions = {}): Promise<DebianRoot> {
  const { architecture } = parseGuestKernel(options.arch ?? 'amd64', undefined);
  const packages = parsePackages('--packages', options.packages);
  const root = await fetchRoot({ architecture: architecture!, packages, refresh: !options.cached });
  say(root, describeRoot(root), options);
  return root;
}

function say(made: Guest | DebianRoot, text: string, { json }: Pick<GuestCommandOptions, 'json'>): void {
  const data = `${jsonText(made, 2)}\n`;
  if (typeof json === 'string') writeOutput(json, data);
  print(json === true ? data : text);
}

function describeRoot({ packages, installed, image, size, used, architecture }: DebianRoot): string {
  const name = ['debian', packages.join(',')].filter(Boolean).join(':');
  const arch = architecture === 'amd64' ? '' : ` --arch ${architecture}`;
  return `packages  ${installed.length}${packages.length > 0 ? `, with ${packages.join(', ')}` : ''}
image     ${image} (${formatSize(size)}, ${formatSize(used)} used)
login     polyvisor run${arch} --memory 512M --root ${name} --init      (root, without a password)
`;
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
