/**
 * A 32-bit PV guest of our own (guests/xen-pv-32) on a whole machine, in both tiers: it checks what Xen's interface gives
 * to a kernel in ring 1 and says what is otherwise; and it makes random hypercalls. PV_FUZZ_SEEDS=N in the environment runs
 * N seeds.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createMachine } from '../src/machine/machine.ts';

const sources = fileURLToPath(new URL('../../guests/xen-pv-32/', import.meta.url));
const FILES = ['start.S', 'main.c', 'checks.c', 'gates.c', 'memory.c', 'fuzz.c'];
const ROUNDS = 30_000;
const SEEDS = Number(process.env.PV_FUZZ_SEEDS ?? 1);
const FLAGS =
  '-m32 -march=i686 -O2 -ffreestanding -fno-pic -no-pie -mgeneral-regs-only -fno-stack-protector -fcf-protection=none ' +
  '-fno-asynchronous-unwind-tables -nostdlib -static -Wl,--build-id=none -Wl,--no-warn-rwx-segments';
/** Seconds. */
const TIMEOUT = 300;

function compilerMakes32Bit(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  writeFileSync(join(folder, 'empty.c'), 'void _start(void) {}\n');
  const made = spawnSync('gcc', [...FLAGS.split(' '), '-o', 'empty', 'empty.c'], { cwd: folder });
  rmSync(folder, { recursive: true, force: true });
  return made.status === 0;
}

describe('a 32-bit PV guest', { skip: compilerMakes32Bit() ? false : 'no gcc that makes 32-bit code' }, () => {
  let kernel: Uint8Array;
  before(() => {
    const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
    const output = join(folder, 'guest.elf');
    execFileSync('gcc', [...FLAGS.split(' '), '-T', 'link.ld', '-o', output, ...FILES], { cwd: sources });
    kernel = readFileSync(output);
    rmSync(folder, { recursive: true, force: true });
  });

  async function run(engine: 'interpreter' | 'jit', append = ''): Promise<string> {
    let text = '';
    const console = {
      write: (data: Uint8Array) => void (text += new TextDecoder('latin1').decode(data)),
      onInput: () => {},
    };
    const machine = await createMachine({ kernel, hypervisor: 'xen-pv', memory: 32 << 20, engine, append, console });
    const exit = await machine.run({ timeout: TIMEOUT });
    assert.deepEqual(exit, { kind: 'power-off' }, text);
    return text;
  }

  for (const engine of ['interpreter', 'jit'] as const)
    test(`finds everything as Xen has it (${engine})`, async () => {
      const text = await run(engine);
      assert.match(text, /^xen-pv-32: xen-3\.0-x86_32p, \d+ pages\n\d+ checks, 0 failed\ndone\n$/, text);
    });

  for (let seed = 1; seed <= SEEDS; seed++)
    test(`${ROUNDS} random hypercalls, seed ${seed}`, async () => {
      const text = await run('jit', `rounds=${ROUNDS} seed=${seed}`);
      assert.doesNotMatch(text, /FAILED|unexpected/);
      const [, done, refused, faults] = text.match(/fuzz: (\d+) hypercalls, (\d+) refused, (\d+) faults/)!.map(Number);
      assert.ok(done >= ROUNDS);
      // Neither all refused, which would test little, nor all taken.
      assert.ok(refused > done / 4 && refused < done * 0.95, `${refused} refused`);
      assert.ok(faults > 100, `${faults} faults`);
    });
});
