/**
 * An i386 kernel of our own (guests/vmi) that uses VMI as Linux 2.6.21 to 2.6.36 did, on a whole machine, with two-level and with
 * PAE page tables: its checks, what it finds on bare hardware, and the calls that end it.
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
import type { MachineOptions } from '../src/machine/options.ts';

const sources = fileURLToPath(new URL('../../guests/vmi/', import.meta.url));
const FILES = [
  'entry.S',
  'main.c',
  'console.c',
  'vmi.c',
  'traps.c',
  'processor.c',
  'page-tables.c',
  'time.c',
  'second.c',
];
/** A kernel: no library, addresses at 3 GiB, general registers only; arguments in registers, as VMI has them. */
const FLAGS =
  '-m32 -O2 -ffreestanding -fno-pic -no-pie -mregparm=3 -mgeneral-regs-only -fno-stack-protector ' +
  '-fcf-protection=none -fno-asynchronous-unwind-tables -nostdlib -static -Wl,--build-id=none -Wl,--no-warn-rwx-segments';
const CHECKS = 107;
/** What the second processor has of them, besides. */
const SECOND_CHECKS = 11;
/** Seconds; a run takes about two on an idle machine. */
const TIMEOUT = 120;

const compiler = spawnSync('gcc', ['--version']).status === 0;

/** What each lethal call of guests/vmi/main.c is ended for. */
const LETHAL: readonly RegExp[] = [
  /AllocatePage: page 0xffffff is not RAM/,
  /AllocatePage: flags 0x8001/,
  /AllocatePage: a clone of page 0x7fffffff/,
  /ReleasePage: page 0xffffffff is not RAM/,
  /SetPxE.*: an entry at linear 0xfffff000/,
  /SetPxELong: an entry for page 0x10000000, which there is not/,
  /SetLinearMapping: slot 9/,
  /SetLinearMapping: 1048575 pages from 0xfffff on/,
  /SetLazyMode: mode 7/,
  /SetTR: selector 0xfff8 is no available task state segment/,
  /SetTR: selector 0x60 is no available task state segment/,
  /SetLDT: selector 0x68 is no local descriptor table/,
  /WriteGDTEntry: entry 8192 of 8192/,
  /WriteIDTEntry: a table at 0xfffff000, which cannot be written/,
  /UpdateKernelStack: selector 0x60 is no segment for a kernel's stack/,
  /SetDR: debug register 9/,
  /SetAlarm: an alarm on counter 77/,
  /SetInitialAPState: a state at 0xfffff000, which cannot be read/,
  /SetInitialAPState: no processor has APIC id 200/,
  /SetInitialAPState: cs 0x68 is no such segment/,
  /SetLazyMode: a queue that the ROM has not written/,
];

describe('a guest that knows VMI', { skip: compiler ? false : 'gcc is not installed: it builds the guest' }, () => {
  let folder: string;
  const kernels: Record<string, Uint8Array> = {};
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
    for (const [name, define] of [
      ['two-level', []],
      ['PAE', ['-DPAE']],
    ] as const) {
      const output = join(folder, name);
      execFileSync('gcc', [...FLAGS.split(' '), ...define, '-T', 'link.ld', '-o', output, ...FILES], { cwd: sources });
      kernels[name] = readFileSync(output);
    }
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  async function run(name: string, options: Partial<MachineOptions> = {}): Promise<{ exit: Exit; text: string }> {
    let text = '';
    const console = {
      write: (data: Uint8Array) => void (text += new TextDecoder('latin1').decode(data)),
      onInput: () => {},
    };
    const kernel = kernels[name]!;
    const machine = await createMachine({ kernel, hypervisor: 'vmi', memory: 32 << 20, console, ...options });
    return { exit: await machine.run({ timeout: TIMEOUT }), text };
  }

  for (const name of ['two-level', 'PAE']) {
    for (const engine of ['jit', 'interpreter'] as const)
      test(`${name}, ${engine}: all checks pass, and it turns itself off`, async () => {
        const { exit, text } = await run(name, { engine });
        assert.doesNotMatch(text, /FAILED/);
        assert.match(text, /^VMI: Found Polyvisor VMI, API version 3\.0, ROM version 1\.0$/m);
        assert.match(text, new RegExp(`^checks: ${CHECKS}, failed: 0\n$`, 'm'), text);
        assert.deepEqual(exit, { kind: 'power-off' });
      });

    for (const engine of ['jit', 'interpreter'] as const)
      test(`${name}, ${engine}: a second processor`, async () => {
        const { exit, text } = await run(name, { engine, cpus: 2, append: 'second=1' });
        assert.doesNotMatch(text, /FAILED/);
        assert.match(text, new RegExp(`^checks: ${CHECKS + SECOND_CHECKS}, failed: 0\n$`, 'm'), text);
        assert.deepEqual(exit, { kind: 'power-off' });
      });

    test(`${name}: bare hardware has no VMI`, async () => {
      const { exit, text } = await run(name, { hypervisor: 'bare' });
      assert.match(text, /^no VMI\n$/m);
      assert.equal(exit.kind, 'dead-halt');
    });
  }

  test('Reboot', async () => {
    const { exit } = await run('PAE', { append: 'reboot' });
    assert.deepEqual(exit, { kind: 'reset' });
  });

  for (const [index, reason] of LETHAL.entries()) {
    test(`${reason.source} ends it`, async () => {
      const { exit, text } = await run('PAE', { append: `lethal=${index}` });
      assert.equal(exit.kind, 'killed', text);
      assert.match((exit as { reason: string }).reason, reason);
    });
  }
});
