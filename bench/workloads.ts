/**
 * The workloads: files that a guest can run and that print the same wherever they run. Shell scripts are in workloads/,
 * C programs of ours in guests/bench/; a new one is a file there. What it measures is its first comment.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { GuestArchitecture } from '../src/host/node/guest.ts';
import { root } from './root.ts';
import { sampleText } from './sample-text.ts';

export interface Workload {
  name: string;
  title: string;
  group: 'shell' | 'programs' | 'costs' | 'smp' | 'devices';
  source: string;
}

const FOLDERS = {
  shell: 'bench/workloads',
  programs: 'guests/bench',
  costs: 'guests/bench/costs',
  devices: 'guests/bench/devices',
  smp: 'guests/bench/smp',
} as const;

/** All there are. */
export function findWorkloads(): Workload[] {
  return Object.entries(FOLDERS).flatMap(([group, folder]) =>
    readdirSync(join(root, folder))
      .filter(name => /\.(sh|c)$/.test(name))
      .sort()
      .map(name => {
        const source = join(root, folder, name);
        const title = /^(?:#!.*\n# |\/\* )(.*?)(?: \*\/)?$/m.exec(readFileSync(source, 'utf8'))?.[1] ?? '';
        return { name: basename(name).replace(/\.\w+$/, ''), title, group: group as Workload['group'], source };
      }),
  );
}

/** No C library, so that the same source gives a small program for both architectures and measures nothing else. */
const FLAGS = [
  ['-O2', '-static', '-nostdlib', '-ffreestanding', '-fno-pie', '-no-pie', '-fno-stack-protector', '-fno-math-errno'],
  ['-fno-asynchronous-unwind-tables', '-Wl,--build-id=none', '-Wl,-z,noexecstack'],
].flat();
/** Plain x86-64, and the same instructions for i386: SSE2 and nothing later. */
const TARGET = {
  amd64: ['-m64', '-march=x86-64'],
  i386: ['-m32', '-march=i686', '-msse2', '-mfpmath=sse'],
} as const;

/** True where C programs can be compiled. */
export function hasCompiler(): boolean {
  return spawnSync('gcc', ['--version']).status === 0;
}

/**
 * Makes `workloads` in `folder`, ready to be run there: by the host, and by a guest that gets the folder.
 * @throws Error with the compiler's words.
 */
export function makeWorkloads(workloads: readonly Workload[], folder: string, architecture: GuestArchitecture): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'text'), sampleText());
  for (const { name, source } of workloads) {
    const target = join(folder, name);
    if (source.endsWith('.sh')) copyFileSync(source, target);
    else {
      const { status, stderr } = spawnSync('gcc', [...FLAGS, ...TARGET[architecture], source, '-o', target]);
      if (status !== 0) throw new Error(`cannot compile ${source}: ${stderr}`);
    }
  }
}

/** What the workload prints and how long it takes on the host itself; undefined where the host cannot run it. */
export function runNatively({ name }: Workload, folder: string): { output: string; seconds: number } | undefined {
  const start = performance.now();
  const { status, stdout } = spawnSync(`./${name}`, {
    cwd: folder,
    encoding: 'utf8',
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
  });
  return status === 0 ? { output: stdout, seconds: (performance.now() - start) / 1000 } : undefined;
}
