/** Who runs the guest: ourselves, as a user would or with our counters at hand, and others. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OURS, type Settings } from './bench.ts';
import type { Command } from './console.ts';
import { root } from './root.ts';

export interface Images {
  kernel: string;
  initrd: string;
}

/** The command, from a fresh process as a user starts it. */
export function polyvisor({ kernel, initrd }: Images, { memory, hypervisor, engine }: Settings): Command {
  const words = ['run', '-H', hypervisor, '-k', kernel, '-i', initrd, '-m', `${memory}M`];
  return { name: OURS, command: join(root, 'bin/polyvisor'), args: engine ? [...words, '--engine', engine] : words };
}

/** The same machine in a process that tells its counters (machine-process.ts). */
export function polyvisorWithCounters(images: Images, { memory, hypervisor, engine }: Settings): Command {
  const options = JSON.stringify({ ...images, memory: memory << 20, hypervisor, engine });
  return { name: OURS, command: process.execPath, args: [sibling('machine-process.js'), options], answers: true };
}

const QEMU = 'qemu-system-x86_64';

/** QEMU's version, or undefined where it is not installed. */
export function qemuVersion(): string | undefined {
  const result = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  return result.status === 0 ? /version (\S+)/.exec(result.stdout)?.[1] : undefined;
}

/** TCG and nothing else: no default devices, no firmware menu to wait for, the console on standard output. */
export function qemu({ kernel, initrd }: Images, { memory }: Settings): Command {
  const machine = ['-accel', 'tcg', '-m', `${memory}`, '-nodefaults', '-display', 'none', '-no-reboot'];
  const system = ['-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0'];
  return { name: 'qemu-tcg', command: QEMU, args: [...machine, '-serial', 'stdio', ...system] };
}

/** A compiled program of this folder. */
function sibling(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
