/** Who runs the guest: ourselves, as a user would or with our counters at hand, and others. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BenchContext, OURS, type Settings } from './bench.ts';
import type { Command } from './console.ts';
import { root } from './root.ts';

export interface Images {
  kernel: string;
  initrd: string;
}

/** What a guest of machine-process.ts has besides. */
export interface Plugged {
  /** A network in user mode that reaches the host's loopback address; the card is the hypervisor's own. */
  network?: boolean;
  /** A raw image, and the bus that it is on. */
  disk?: { path: string; bus: string };
  /** A folder, and the tag by which it is mounted. */
  share?: { path: string; tag: string };
}

/** The command, from a fresh process as a user starts it. */
export function polyvisor({ kernel, initrd }: Images, { memory, hypervisor, engine }: Settings): Command {
  const words = ['run', '-H', hypervisor, '-k', kernel, '-i', initrd, '-m', `${memory}M`];
  return { name: OURS, command: join(root, 'bin/polyvisor'), args: engine ? [...words, '--engine', engine] : words };
}

/** The same machine in a process that tells its counters (machine-process.ts). */
export function polyvisorWithCounters(
  images: Images,
  { memory, hypervisor, engine }: Pick<Settings, 'memory' | 'hypervisor' | 'engine'>,
  { plugged = {}, cpus = 1 }: { plugged?: Plugged; cpus?: number } = {},
): Command {
  const options = JSON.stringify({ ...images, memory: memory << 20, hypervisor, engine, plugged, cpus });
  const args = [sibling('machine-process.js'), options];
  return { name: OURS, command: join(root, 'bin/guest-node'), args, answers: true };
}

const QEMU = 'qemu-system-x86_64';

/** True where QEMU is wanted and installed; its version, or that it is not there, goes into the notes. */
export function hasQemu({ peers, note }: BenchContext): boolean {
  if (!peers.includes('qemu')) return false;
  const { status, stdout } = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  if (status === 0) note(`qemu-tcg is QEMU ${/version (\S+)/.exec(stdout)?.[1]}`);
  else note(`${QEMU} is not installed: no peer to compare with (apt-get install qemu-system-x86)`);
  return status === 0;
}

/** How TCG runs several processors: in turn on one thread, or each on a thread of its own. */
export type TcgThreads = 'single' | 'multi';

/**
 * TCG and nothing else: no default devices, no firmware menu to wait for, the console on standard output.
 * @param guest.devices words for what the guest has besides
 * @param guest.processors left out: one, and TCG's threads as they are by default
 */
export function qemu(
  { kernel, initrd }: Images,
  { memory }: Settings,
  guest: { devices?: readonly string[]; processors?: { cpus: number; thread: TcgThreads } } = {},
): Command {
  const { devices = [], processors } = guest;
  const accelerator = processors
    ? ['-accel', `tcg,thread=${processors.thread}`, '-smp', `${processors.cpus}`]
    : ['-accel', 'tcg'];
  const machine = [...accelerator, '-m', `${memory}`, '-nodefaults', '-display', 'none', '-no-reboot'];
  const system = ['-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0'];
  return { name: 'qemu-tcg', command: QEMU, args: [...machine, '-serial', 'stdio', ...system, ...devices] };
}

/** A compiled program of this folder. */
function sibling(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
