/**
 * i386 Linux has its double fault behind a task gate (arch/x86/kernel/doublefault_32.c), since it has no stack for it otherwise.
 * Debian's kernel is started, and a debugger takes its stack pointer away: the kernel says so, with what its old task's TSS holds.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { diskCache, ensureGuest, workerTranslator } from '../src/host/node/index.ts';
import { createMachine } from '../src/index.ts';

/** The kernel is itself by then: its exceptions have gates. */
const STARTED = 'Freeing SMP alternatives memory';
/** No page is there. */
const LOST = 0x1000n;

test("a lost stack pointer is a double fault of Debian's i386 kernel", async () => {
  const guest = await ensureGuest({ architecture: 'i386', flavour: '686-pae' });
  let text = '';
  const machine = await createMachine({
    kernel: readFileSync(guest.kernel),
    append: 'nokaslr panic=-1',
    translator: workerTranslator,
    cache: diskCache,
    console: {
      onInput() {},
      write: data => {
        const before = text.includes(STARTED);
        text += new TextDecoder('latin1').decode(data);
        if (!before && text.includes(STARTED)) machine.stop();
      },
    },
  });
  assert.deepEqual(await machine.run({ timeout: 300 }), { kind: 'stopped' }, text);

  const target = machine.debug();
  const number = (name: string) => target.registers.findIndex(register => register.name === name);
  const cs = target.readRegister(0, number('cs'))!;
  assert.equal(cs[0]! & 3, 0, 'the kernel executes');
  for (const name of ['rsp', 'rbp'])
    assert.ok(target.writeRegister(0, number(name), new Uint8Array(BigUint64Array.of(LOST).buffer)));
  const exit = await machine.run({ timeout: 300 });
  const said = text.slice(text.indexOf(STARTED));
  assert.match(said, /PANIC: double fault, error_code: 0x0\r?\n/);
  assert.match(said, /double fault: 0000 \[#1\]/);
  // Of the TSS that the task gate has left, and of the fault on the way.
  assert.match(said, /EIP: io_serial_out\+/);
  assert.match(said, /EBP: 00001000 ESP: 00001000\r?\n/);
  assert.match(said, /SS: 0068 .*\r?\n.*CR2: 00000ffc/);
  assert.match(said, /Kernel panic - not syncing/);
  assert.deepEqual(exit, { kind: 'reset' }, 'panic=-1 restarts');
});
