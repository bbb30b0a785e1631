/** What a benchmark's guest boots: the default guest with the workloads and the driver that runs them put in beside. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CpioEntry, S_IFDIR, S_IFREG, writeCpio } from '../src/boot/cpio.ts';
import { commandArchive, joinArchives } from '../src/boot/exec-protocol.ts';
import type { Guest } from '../src/host/node/guest.ts';
import type { Images } from './peers.ts';
import { root } from './root.ts';

/** The default guest runs this instead of a shell. */
const COMMAND = 'exec sh /bench/driver.sh';

/** @param folder what `makeWorkloads` has made; the initial RAM disk is written into it. */
export function makeImages(guest: Guest, folder: string): Images {
  const entries: CpioEntry[] = [{ name: 'bench', mode: S_IFDIR | 0o755 }];
  const add = (name: string, path: string) =>
    entries.push({ name: `bench/${name}`, mode: S_IFREG | 0o755, data: readFileSync(path) });
  add('driver.sh', join(root, 'bench/driver.sh'));
  for (const name of readdirSync(folder)) add(name, join(folder, name));
  const initrd = join(folder, 'initrd.cpio');
  writeFileSync(initrd, joinArchives(readFileSync(guest.initrd), writeCpio(entries), commandArchive(COMMAND)));
  return { kernel: guest.kernel, initrd };
}
