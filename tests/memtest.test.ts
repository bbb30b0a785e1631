/**
 * memtest86+ (Debian's package), an operating system of its own that borrows Linux's boot protocol, on bare hardware with a
 * serial console: one pass of each image, the 32-bit one by real mode, with every word of memory as it should be.
 *
 * Its last test waits three minutes for bits to fade. Ours have no way to; it is ended from the menu when it begins, unless the
 * environment has MEMTEST_WHOLE=1: then the pass is complete, and takes as long as on a PC.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { nodeClock } from '../src/host/node/clock.ts';
import { createMachine } from '../src/machine/machine.ts';
import type { MachineOptions } from '../src/machine/options.ts';
import { packageFiles } from './debian-package.ts';

/** Bytes: the program keeps the first four MiB to itself. */
const MEMORY = 5 << 20;
const WHOLE = process.env.MEMTEST_WHOLE === '1';
/** Seconds. */
const TIMEOUT = WHOLE ? 1800 : 400;
/** In the menu behind the first key, the second ends the current test. */
const MENU = '1';
const SKIP = '5';

/** Runs until a pass is complete. @returns what its status lines said */
async function onePass(kernel: Uint8Array, entry?: MachineOptions['entry']) {
  let text = '';
  let keys = WHOLE ? [] : [MENU, SKIP];
  const machine = await createMachine({
    ...{ kernel, entry, memory: MEMORY, clock: nodeClock },
    commandLine: 'console=ttyS0,115200',
    console: {
      onInput: () => {},
      write(data) {
        text += new TextDecoder('latin1').decode(data);
        const said = /Bit fade test/.test(text) ? keys : [];
        if (said.length > 0) {
          keys = [];
          // Not from within the guest's own write.
          setImmediate(() => machine.type(said.join('')));
        }
        if (/Pass: +[1-9]/.test(text)) machine.stop();
      },
    },
  });
  const exit = await machine.run({ timeout: TIMEOUT });
  const tests = new Set([...text.matchAll(/#(\d+) +\[/g)].map(match => Number(match[1])));
  const errors = [...text.matchAll(/Errors: +(\d+)/g)].map(match => Number(match[1]));
  return { exit, text, tests, errors };
}

describe('memtest86+', () => {
  let images: Map<string, Uint8Array>;
  before(async () => {
    images = await packageFiles('memtest86+', 'boot/');
  });

  for (const [file, entry] of [
    ['memtest86+x64.bin', undefined],
    ['memtest86+ia32.bin', 'real'],
  ] as const)
    test(`${file}, entry ${entry ?? 'linux'}: a pass without an error`, async () => {
      const { exit, text, tests, errors } = await onePass(images.get(file)!, entry);
      assert.deepEqual(exit, { kind: 'stopped' }, text.slice(-2000));
      assert.match(text, /Memtest86\+ v\d/);
      // The first and the last: those between are so short that few of them are ever named.
      assert.ok(tests.has(0) && tests.has(10), `its status named the tests ${[...tests]}`);
      assert.ok(errors.length > 0);
      assert.deepEqual(new Set(errors), new Set([0]));
    });
});
