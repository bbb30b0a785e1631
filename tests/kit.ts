/** The kit (kit/), built with the host's compiler, and its example's table of costs. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const kitFolder = fileURLToPath(new URL('../../kit/', import.meta.url));

export const missingTools = (): string | undefined =>
  ['gcc', 'make'].every(tool => spawnSync(tool, ['--version']).status === 0)
    ? undefined
    : 'gcc and make are not installed: they build the kit';

/** Builds the kit. @returns the folder with libparavirt.a and example.elf, and what removes it */
export function buildKit(): { folder: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-kit-'));
  const flags = 'CFLAGS=-O2 -Wall -Wextra -Werror';
  execFileSync('make', ['-s', '-C', kitFolder, `OUT=${folder}`, flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

export interface Cost {
  /** The op, as `time.clock`, and the function that does it. */
  operation: string;
  function: string;
  /** Ticks of the TSC; undefined where it cannot be done. */
  here: number | undefined;
  natively: number | undefined;
}

/** The table that the example prints. */
export function costsIn(text: string): Cost[] {
  const number = (word: string) => (word === '-' ? undefined : Number(word));
  return [...text.matchAll(/^(\w+\.[\w, ]+?) {2,}(\w+) +(\d+|-) +(\d+|-)\r?$/gm)].map(
    ([, operation, name, here, natively]) => ({
      operation: operation!,
      function: name!,
      here: number(here!),
      natively: number(natively!),
    }),
  );
}
