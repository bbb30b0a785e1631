/**
 * `run` ends when it is told to, whatever its guest's thread is doing: a kernel that loops, and a thread that never comes back from code of
 * ours or of a hypervisor's file, which the tests' own file plays.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-watchdog-'));
after(() => rmSync(folder, { recursive: true }));

/** CPUID, an x to the first serial port, then a jump to itself. */
const kernel = join(folder, 'kernel');
writeFileSync(kernel, tinyKernel([0x0f, 0xa2, 0xb0, 0x78, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xfe]));

/** Its thread runs the guest for a moment; then it loops, and its event loop with all that listens there stands still. */
const hangs = join(folder, 'hangs.js');
writeFileSync(
  hangs,
  `import { writeSync } from 'node:fs';
   import { bareTable, derive } from 'polyvisor';
   const names = { name: 'hangs', title: 'its thread never comes back' };
   let begun = false;
   const cpuid = () => {
     if (!begun) setTimeout(() => { writeSync(2, 'stuck\\n'); for (;;); }, 500);
     begun = true;
   };
   const make = () => derive(bareTable, { ...names, cpu: { cpuid } });
   export default { ...names, make };`,
);

const SIGNALS = [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const;
const timeout = 200_000;

/** The one line that it says, without the state of the guest. */
const said = (stderr: string) => stderr.split('\n').filter(line => line.startsWith('polyvisor: '));

for (const [what, hypervisor] of [
  ['a guest that loops', 'bare'],
  ['a thread that hangs', hangs],
] as const)
  describe(what, { concurrency: 2 }, () => {
    const words = ['run', '-H', hypervisor, '--kernel', kernel];

    test('is ended by the time limit', { timeout }, async () => {
      const { status, stderr, expired } = await polyvisor([...words, '--timeout', '3'], { limit: 150 });
      assert.deepEqual(said(stderr), ['polyvisor: the time limit has passed']);
      assert.equal(status, 124);
      assert.ok(!expired);
    });

    for (const [name, expected] of SIGNALS)
      test(`is ended by ${name}`, { timeout }, async () => {
        const signal = { name, after: hypervisor === hangs ? 'stuck' : 'x' };
        const { status, stderr, expired } = await polyvisor([...words, '--timeout', '140'], { limit: 150, signal });
        assert.deepEqual(said(stderr), [`polyvisor: ended by ${name}`]);
        assert.equal(status, expected);
        assert.ok(!expired);
      });
  });
