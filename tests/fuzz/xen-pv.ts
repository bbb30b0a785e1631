/**
 * A hostile Xen PV guest of our own (guests/xen-pv-fuzz) on a whole machine: random hypercalls with arguments that are nearly right.
 * The guest checks after each that nothing of the host's shows, and that Xen's promises to other domains hold.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Exit } from '../../src/exits.ts';
import { createMachine, type MachineOptions } from '../../src/index.ts';
import type { Fuzzer } from './fuzzer.ts';

const sources = fileURLToPath(new URL('../../../guests/xen-pv-fuzz/', import.meta.url));
const FILES = ['start.S', 'main.c', 'attacks.c', 'fuzz.c'];
/** A kernel: no library, no red zone (bounces use the stack), nothing but general registers, addresses in the top 2 GiB. */
const FLAGS =
  '-O2 -ffreestanding -fno-pic -no-pie -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fno-stack-protector ' +
  '-fcf-protection=none -fno-asynchronous-unwind-tables -nostdlib -static -Wl,--build-id=none -Wl,--no-warn-rwx-segments';
/** Hypercalls of one input. */
export const ROUNDS = 100_000;
/** Seconds; a run takes about ten on an idle machine. */
const TIMEOUT = 300;

export const missingCompiler = (): string | undefined =>
  spawnSync('gcc', ['--version']).status === 0 ? undefined : 'gcc is not installed: it builds the guest';

/** Compiles the guest. */
export function buildGuest(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  try {
    const output = join(folder, 'guest.elf');
    execFileSync('gcc', [...FLAGS.split(' '), '-T', 'link.ld', '-o', output, ...FILES], { cwd: sources });
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Run {
  exit: Exit;
  text: string;
  instructions: number;
}

/** Runs the guest with `append` on its command line. */
export async function runGuest(
  kernel: Uint8Array,
  append: string,
  hypervisor: MachineOptions['hypervisor'] = 'xen-pv',
): Promise<Run> {
  let text = '';
  const console = {
    write: (data: Uint8Array) => void (text += new TextDecoder('latin1').decode(data)),
    onInput: () => {},
  };
  const machine = await createMachine({ kernel, hypervisor, memory: 32 << 20, append, console });
  const exit = await machine.run({ timeout: TIMEOUT });
  return { exit, text, instructions: machine.statistics.instructions };
}

/** What is wrong with a run of `rounds` hypercalls; undefined if nothing is. */
export function judgeRun({ exit, text }: { exit: Exit; text: string }, rounds: number): string | undefined {
  if (exit.kind !== 'power-off') return `it ended by ${JSON.stringify(exit)}`;
  const wrong = /.*(?:FAILED|unexpected).*/.exec(text);
  if (wrong) return wrong[0];
  const [, done, refused, faults] = (/fuzz: (\d+) hypercalls, (\d+) refused, (\d+) faults/.exec(text) ?? []).map(
    Number,
  );
  if (!(done! >= rounds)) return `${done} of ${rounds} hypercalls`;
  // Neither all refused, which would test little, nor all taken.
  if (!(refused! > done! / 4 && refused! < done! * 0.95)) return `${refused} of ${done} refused`;
  return faults! > rounds / 1000 ? undefined : `${faults} faults`;
}

export const xenPv: Fuzzer = {
  name: 'xen-pv',
  description: 'random hypercalls of a hostile Xen PV guest, 100,000 an input',
  missing: missingCompiler,
  async run({ seed, count = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY }) {
    const kernel = buildGuest();
    const end = performance.now() + seconds * 1000;
    let done = 0;
    const wrong = async (rounds: number) => {
      const result = await runGuest(kernel, `rounds=${rounds} seed=${seed + done}`);
      const reason = judgeRun(result, rounds);
      return reason === undefined ? undefined : { reason, text: result.text };
    };
    for (; done < count && performance.now() < end; done++) {
      let found = await wrong(ROUNDS);
      if (!found) continue;
      // The fewest hypercalls that show it, within a factor of two.
      let rounds = ROUNDS;
      for (let fewer = rounds >> 1; fewer > 0; fewer >>= 1) {
        const again = await wrong(fewer);
        if (!again || /refused|faults/.test(again.reason)) break;
        [rounds, found] = [fewer, again];
      }
      const input = `rounds=${rounds} seed=${seed + done}\n${found.text.slice(-2000)}`;
      return { count: done + 1, next: seed + done + 1, finding: { seed: seed + done, reason: found.reason, input } };
    }
    return { count: done, next: seed + done, notes: `${done * ROUNDS} hypercalls` };
  },
};
