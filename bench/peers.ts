/** Who runs the guest: ourselves, and QEMU's TCG where Debian's package is installed. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Peer } from './console.ts';

const polyvisor = fileURLToPath(new URL('../../bin/polyvisor', import.meta.url));
const QEMU = 'qemu-system-x86_64';

export interface Images {
  kernel: string;
  initrd: string;
}

export interface PeerSettings {
  /** MiB. */
  memory: number;
  hypervisor?: string;
  engine?: string;
}

export function ourselves({ kernel, initrd }: Images, { memory, hypervisor = 'bare', engine }: PeerSettings): Peer {
  const engineWords = engine ? ['--engine', engine] : [];
  return {
    name: 'polyvisor',
    command: polyvisor,
    args: ['run', '-H', hypervisor, '-k', kernel, '-i', initrd, '-m', `${memory}M`, ...engineWords],
  };
}

/** QEMU's version, or undefined where it is not installed. */
export function qemuVersion(): string | undefined {
  const result = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  return result.status === 0 ? /version (\S+)/.exec(result.stdout)?.[1] : undefined;
}

/** TCG and nothing else: no default devices, no firmware menu to wait for, the console on standard output. */
export function qemu({ kernel, initrd }: Images, { memory }: PeerSettings): Peer {
  const machine = [
    '-accel',
    'tcg',
    '-m',
    `${memory}`,
    '-nodefaults',
    '-display',
    'none',
    '-no-reboot',
    '-serial',
    'stdio',
  ];
  return {
    name: 'qemu-tcg',
    command: QEMU,
    args: [...machine, '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0'],
  };
}
