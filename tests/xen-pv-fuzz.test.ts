/**
 * A hostile PV guest of our own (guests/xen-pv-fuzz) on a whole machine: attacks on page types and descriptor tables with their
 * expected answers, 100,000 random hypercalls, and what ends a guest. PV_FUZZ_SEEDS=N in the environment runs N seeds.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Exit } from '../src/exits.ts';
import { createMachine } from '../src/machine/machine.ts';

const sources = fileURLToPath(new URL('../../guests/xen-pv-fuzz/', import.meta.url));
const FILES = ['start.S', 'main.c', 'attacks.c', 'fuzz.c'];
/** A kernel: no library, no red zone (bounces use the stack), nothing but general registers, addresses in the top 2 GiB. */
const FLAGS =
  '-O2 -ffreestanding -fno-pic -no-pie -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fno-stack-protector ' +
  '-fcf-protection=none -fno-asynchronous-unwind-tables -nostdlib -static -Wl,--build-id=none -Wl,--no-warn-rwx-segments';
const ROUNDS = 100_000;
const SEEDS = Number(process.env.PV_FUZZ_SEEDS ?? 1);
/** Seconds; a run takes about ten on an idle machine. */
const TIMEOUT = 300;

const compiler = spawnSync('gcc', ['--version']).status === 0;

describe('a hostile PV guest', { skip: compiler ? false : 'gcc is not installed: it builds the guest' }, () => {
  let folder: string;
  let kernel: Uint8Array;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
    const output = join(folder, 'guest.elf');
    execFileSync('gcc', [...FLAGS.split(' '), '-T', 'link.ld', '-o', output, ...FILES], { cwd: sources });
    kernel = readFileSync(output);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  async function run(append: string): Promise<{ exit: Exit; text: string }> {
    let text = '';
    const console = {
      write: (data: Uint8Array) => void (text += new TextDecoder('latin1').decode(data)),
      onInput: () => {},
    };
    const machine = await createMachine({ kernel, hypervisor: 'xen-pv', memory: 32 << 20, append, console });
    return { exit: await machine.run({ timeout: TIMEOUT }), text };
  }

  test('gets away with nothing', async () => {
    const { exit, text } = await run('attacks');
    assert.deepEqual(exit, { kind: 'power-off' }, text);
    assert.match(text, /attacks: pointers\nattacks failed: 0\ndone\n$/);
  });

  for (let seed = 1; seed <= SEEDS; seed++) {
    test(`${ROUNDS} random hypercalls, seed ${seed}`, async () => {
      const { exit, text } = await run(`rounds=${ROUNDS} seed=${seed}`);
      assert.deepEqual(exit, { kind: 'power-off' }, text);
      assert.doesNotMatch(text, /FAILED|unexpected/);
      const [, done, refused, faults] = text.match(/fuzz: (\d+) hypercalls, (\d+) refused, (\d+) faults/)!.map(Number);
      assert.ok(done >= ROUNDS);
      // Neither all refused, which would test little, nor all taken.
      assert.ok(refused > done / 4 && refused < done * 0.95, `${refused} refused`);
      assert.ok(faults > 100, `${faults} faults`);
    });
  }

  const lethal: [what: string, reason: RegExp][] = [
    ['iret to user mode without page tables', /iret to user mode without page tables/],
    ['iret from a stack that is not there', /iret: its frame/],
    ['an exception without a stack', /exception 6: the guest's kernel stack/],
    ['an exception without a handler', /exception 6 at rip 0x[0-9a-f]+ in kernel mode.*no handler/],
    ['page tables that map nothing', /exception 14 .*stack/],
  ];
  for (const [index, [what, reason]] of lethal.entries()) {
    test(`${what} ends it`, async () => {
      const { exit, text } = await run(`lethal=${index}`);
      assert.equal(exit.kind, 'killed', text);
      assert.match((exit as { reason: string }).reason, reason);
      assert.doesNotMatch(text, /survived/);
    });
  }
});
