/**
 * v86, the x86 emulator of the web, as a peer: 32-bit, so it gets Debian's i386 kernel and the workloads compiled for i386. It
 * comes from npm when it is first asked for and stays in the cache; its firmware is Debian's seabios package.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '../src/host/node/cache.ts';
import { ensureGuest, type Guest } from '../src/host/node/guest.ts';
import type { BenchContext } from './bench.ts';
import type { Command } from './console.ts';
import type { Images } from './peers.ts';

const VERSION = '0.5.462';
const FIRMWARE = '/usr/share/seabios/bios.bin';

/**
 * How to start it, or undefined with a note where it cannot be had.
 * @param images makes what it boots of Debian's i386 guest
 */
export async function v86(
  { memory, progress, note }: BenchContext,
  images: (guest: Guest) => Images,
): Promise<Command | undefined> {
  if (!existsSync(FIRMWARE)) {
    note(`v86 needs ${FIRMWARE} (apt-get install seabios)`);
    return undefined;
  }
  const home = join(cacheFolder(), 'peers', `v86-${VERSION}`);
  const library = join(home, 'node_modules/v86/build');
  if (!existsSync(library)) {
    progress('fetching v86 (once)');
    mkdirSync(home, { recursive: true });
    const words = ['install', '--prefix', home, '--no-fund', '--no-audit', '--loglevel=error', `v86@${VERSION}`];
    const { status, stderr } = spawnSync('npm', words, { encoding: 'utf8' });
    if (status !== 0) {
      note(`v86 is not to be had: ${stderr.trim().split('\n')[0]}`);
      return undefined;
    }
  }
  const guest = await ensureGuest({ architecture: 'i386', progress: ({ text }) => progress(text) });
  note(`v86 is ${VERSION}, with kernel ${guest.release}`);
  const { kernel, initrd } = images(guest);
  const options = JSON.stringify({ kernel, initrd, library, firmware: FIRMWARE, memory: memory << 20 });
  const program = fileURLToPath(new URL('v86-process.js', import.meta.url));
  return { name: 'v86', command: process.execPath, args: [program, options], restless: true };
}
